// The garbage of an operation: bytes of heap, and the number of promises.
import { runChild } from "../lib/child.js";
import { OPERATIONS } from "../lib/operations.js";
import { figure, table } from "../lib/tables.js";

export const kinds = ["memory", "file", "dynamodb", "etcd"];
export const title = "Allocations and promises of an operation";

export async function measurePart({ kind, stores, at }) {
  const measured = {};
  for (const name of Object.keys(stores.contenders)) {
    // Enough memory for all of the measurement, so that nothing is collected during it.
    measured[name] = await runChild("allocations", { kind, name, at }, [
      "--expose-gc",
      "--min-semi-space-size=64",
    ]);
  }
  return measured;
}

export function report(measured) {
  return table(
    ["bytes (promises) of one operation alone", ...OPERATIONS],
    Object.entries(measured).map(([name, { bytes, promises }]) => [
      name,
      ...OPERATIONS.map(operation => `${figure(bytes[operation])} (${figure(promises[operation])})`),
    ]),
  );
}
