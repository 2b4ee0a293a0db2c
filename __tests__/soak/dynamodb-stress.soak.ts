import { describeDynamoDBStress } from "../helpers/suites/dynamodb-stress.js";

const endpoint = (variable: string) => String(process.env[variable]);

describeDynamoDBStress({
  name: "dynalite",
  endpoint: endpoint("DYNALITE_ENDPOINT"),
  requests: 50_000,
  listings: 50,
});
describeDynamoDBStress({
  name: "DynamoDB Local",
  endpoint: endpoint("DYNAMODB_ENDPOINT"),
  requests: 20_000,
  listings: 20,
});
