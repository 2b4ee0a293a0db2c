// The cold start: from `require` to the first response of a `get`, each in its own process.
import { runChild } from "../lib/child.js";
import { interleave, ratio } from "../lib/measure.js";
import { set } from "../lib/operations.js";
import { newSession, newSid } from "../lib/sessions.js";
import { figure, middle, table } from "../lib/tables.js";

export const kinds = ["memory", "file", "dynamodb", "etcd"];
export const title = "Cold start";

const NOT_COMPARED = ["a lease for each session"];

export async function measurePart({ kind, stores, at, rounds }) {
  const names = Object.keys(stores.contenders).filter(name => !NOT_COMPARED.includes(name));
  const place = { ...at, kept: "cold" };
  const sids = {};
  if (kind !== "memory") {
    for (const name of names) {
      sids[name] = newSid();
      const contender = await stores.contenders[name](place);
      await set(contender, sids[name], newSession(sids[name], contender.store));
      await contender.close();
    }
  }
  const measured = await interleave(names, rounds, name =>
    runChild("cold", { kind, name, at: place, sid: sids[name] }),
  );
  return { rounds: measured };
}

export function coldRatio({ rounds }, theirs) {
  return ratio(rounds, "ours", theirs, ({ ms }) => ms);
}

export function report(measured) {
  return table(
    ["from `require` to the first answered get", "ms", "ours / theirs"],
    Object.keys(measured.rounds[0]).map(name => [
      name,
      figure(middle(measured.rounds, name, ({ ms }) => ms)),
      name === "ours" ? "–" : figure(coldRatio(measured, name)),
    ]),
  );
}
