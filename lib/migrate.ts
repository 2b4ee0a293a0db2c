export * from "./migrate/migrating-store.js";
export type { Stage } from "./migrate/stages.js";
