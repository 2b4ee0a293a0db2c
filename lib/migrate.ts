export { type CopiedRecord, type CopyOptions, type CopyProgress, copy } from "./migrate/copy.js";
export * from "./migrate/migrating-store.js";
export { readAll } from "./migrate/readers/all.js";
export {
  type ConnectDynamoDBReaderOptions,
  readConnectDynamoDB,
} from "./migrate/readers/connect-dynamodb.js";
export {
  type ConnectMongoReaderOptions,
  type MongoClient,
  readConnectMongo,
} from "./migrate/readers/connect-mongo.js";
export {
  type ConnectPgSimpleReaderOptions,
  type PgClient,
  readConnectPgSimple,
} from "./migrate/readers/connect-pg-simple.js";
export {
  type ConnectRedisReaderOptions,
  type RedisClient,
  readConnectRedis,
} from "./migrate/readers/connect-redis.js";
export { type DynamoDBStoreReaderOptions, readDynamoDBStore } from "./migrate/readers/dynamodb-store.js";
export { readMemoryStore } from "./migrate/readers/memory-store.js";
export { readMemorystore } from "./migrate/readers/memorystore.js";
export type { SessionReader } from "./migrate/readers/reading.js";
export type { DynamoDBReaderClient } from "./migrate/readers/scan-table.js";
export {
  readSessionFileStore,
  type SessionFileStoreReaderOptions,
} from "./migrate/readers/session-file-store.js";
export type { CopySource, SourceItem, SourceSession, UnreadableSession } from "./migrate/source.js";
export type { Stage } from "./migrate/stages.js";
