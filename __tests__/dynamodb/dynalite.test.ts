import { dynaliteClient } from "../helpers/engines/engines.js";
import { dynamodbTests } from "./suite/index.js";

dynamodbTests({
  name: "dynalite",
  connect: dynaliteClient,
  hasTtl: false,
  hasTransactions: false,
  limitsResponses: false,
  views: 300,
});
