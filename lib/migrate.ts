export * from "./migrate/migrating-store.js";
export type { SourceSession } from "./migrate/source.js";
export type { Stage } from "./migrate/stages.js";
