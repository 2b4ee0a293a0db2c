import { dynamodbClient } from "../helpers/engines/engines.js";
import { dynamodbTests } from "./suite/index.js";

dynamodbTests({
  name: "DynamoDB Local",
  connect: dynamodbClient,
  hasTtl: true,
  hasTransactions: true,
  limitsResponses: true,
  views: 100,
});
