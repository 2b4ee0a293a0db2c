// On AWS's own engine; see there.
import "./dynamodb.test.js";
