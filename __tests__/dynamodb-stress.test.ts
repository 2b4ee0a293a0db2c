import { describeDynamoDBStress } from "./helpers/dynamodb-stress.js";

const endpoint = (variable: string) => String(process.env[variable]);

describeDynamoDBStress({
  name: "dynalite",
  endpoint: endpoint("DYNALITE_ENDPOINT"),
  requests: 2500,
  listings: 6,
});
describeDynamoDBStress({
  name: "DynamoDB Local",
  endpoint: endpoint("DYNAMODB_ENDPOINT"),
  requests: 800,
  listings: 5,
});
