export { type CopyOptions, type CopyProgress, copy } from "./migrate/copy.js";
export * from "./migrate/migrating-store.js";
export type { CopySource, SourceItem, SourceSession, UnreadableSession } from "./migrate/source.js";
export type { Stage } from "./migrate/stages.js";
