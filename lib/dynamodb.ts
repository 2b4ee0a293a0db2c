export * from "./dynamodb/store.js";
