// The memory of a session: heap and resident memory, each store in its own process.
import { runChild } from "../lib/child.js";
import { interleave, ratio } from "../lib/measure.js";
import { figure, middle, table } from "../lib/tables.js";

export const kinds = ["memory"];
export const title = "Memory for a session";

const COUNT = 50_000;

export async function measurePart({ kind, stores, at, rounds }) {
  const measured = await interleave(Object.keys(stores.contenders), rounds, name =>
    runChild("heap", { kind, name, at, count: COUNT }, ["--expose-gc"]),
  );
  return { rounds: measured };
}

export function heapRatio({ rounds }, theirs) {
  return ratio(rounds, "ours", theirs, ({ heap }) => heap);
}

export function report(measured) {
  const names = Object.keys(measured.rounds[0]);
  return table(
    [`bytes for each of ${figure(COUNT)} sessions`, "heap", "resident", "heap, ours / theirs"],
    names.map(name => [
      name,
      ...["heap", "resident"].map(key => figure(middle(measured.rounds, name, results => results[key]))),
      name === "ours" ? "–" : figure(heapRatio(measured, name)),
    ]),
  );
}
