export type { DynamoDBAttributes, DynamoDBStoreOptions } from "./dynamodb/options.js";
export { DynamoDBStore } from "./dynamodb/store.js";
