import { describeDynamoDBStress } from "../helpers/suites/dynamodb-stress.js";

const endpoint = (variable: string) => String(process.env[variable]);

describeDynamoDBStress({
  name: "dynalite",
  endpoint: endpoint("DYNALITE_ENDPOINT"),
  requests: 1500,
  listings: 4,
});
describeDynamoDBStress({
  name: "DynamoDB Local",
  endpoint: endpoint("DYNAMODB_ENDPOINT"),
  requests: 500,
  listings: 4,
});
