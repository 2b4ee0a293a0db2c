import type { Fault } from "./broken-stores/fault.js";
import { interfaceFaults } from "./broken-stores/interface.js";
import { lifetimeFaults } from "./broken-stores/lifetimes.js";
import { recordFaults } from "./broken-stores/records.js";
import { sessionFaults } from "./broken-stores/sessions.js";
import { userFaults } from "./broken-stores/users.js";

export { type Fault, replace } from "./broken-stores/fault.js";
export { MAX_SESSION_BYTES, MapStore } from "./map-store.js";

/** For each promise of the suite a store that breaks it. */
export const faults: readonly Fault[] = [
  ...sessionFaults,
  ...lifetimeFaults,
  ...recordFaults,
  ...interfaceFaults,
  ...userFaults,
];
