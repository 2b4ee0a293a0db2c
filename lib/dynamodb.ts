export type { DynamoDBAttributes, DynamoDBStoreOptions } from "./dynamodb/options.js";
export * from "./dynamodb/store.js";
