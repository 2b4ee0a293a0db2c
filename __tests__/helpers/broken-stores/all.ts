import type { Fault } from "./fault.js";
import { interfaceFaults } from "./interface.js";
import { lifetimeFaults } from "./lifetimes.js";
import { recordFaults } from "./records.js";
import { sessionFaults } from "./sessions.js";
import { userFaults } from "./users.js";

export { MAX_SESSION_BYTES, MapStore } from "../stores/map-store.js";
export { type Fault, replace } from "./fault.js";

/** For each promise of the suite, a store that breaks it. */
export const faults: readonly Fault[] = [
  ...sessionFaults,
  ...lifetimeFaults,
  ...recordFaults,
  ...interfaceFaults,
  ...userFaults,
];
