// The cost of each option: operations per second of a store with the option, relative to a store without it.
import { randomBytes } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { interleave, ratio } from "../lib/measure.js";
import { OPERATIONS, runOperations } from "../lib/operations.js";
import { figure, middle, table } from "../lib/tables.js";

export const kinds = ["memory", "file"];
export const title = "Costs of features";

const NONE = "none";
const IN_FLIGHT = [1, 64];
const RUN_MS = 700;

const CHANNEL = "express-session-stores:operation";
const encryption = { keys: [randomBytes(32)] };
const hashIds = { secret: randomBytes(32) };
/** The user of a session: the first half of its sid, so that each session has another user. */
const user = session => session.check.slice(0, 16);

const SUBSCRIBED = "a subscriber of the diagnostics channel";
/** Touches follow a save so soon that they are skipped. */
const SKIPPED = "`touchAfter: 60`, touches skipped";

/** The measured options of each store. */
const features = {
  [NONE]: {},
  "`hashIds: true`": { hashIds: true },
  "`hashIds: { secret }`": { hashIds },
  "`encryption`": { encryption },
  "`user`": { user },
  "`user`, `maxSessionsPerUser`": { user, maxSessionsPerUser: { max: 5 } },
  "`user`, `hashIds: { secret }`, `encryption`": { user, hashIds, encryption },
  "`absoluteTimeout`": { absoluteTimeout: 86_400 },
  '`conflict: "overwrite"`': { conflict: "overwrite" },
  '`conflict: "error"`': { conflict: "error" },
  "`serializer`, JSON without the package's own shortcuts": {
    serializer: { stringify: value => JSON.stringify(value), parse: text => JSON.parse(text) },
  },
  [SKIPPED]: { touchAfter: 60 },
  [SUBSCRIBED]: {},
  "`max: 100,000`": { max: 100_000 },
  "`maxBytes` of 1 GB": { maxBytes: 1e9 },
};
const ofMemory = ["`max: 100,000`", "`maxBytes` of 1 GB"];

export async function measurePart({ kind, stores, at, rounds }) {
  const names = Object.keys(features).filter(name => kind === "memory" || !ofMemory.includes(name));
  const run = inFlight => async name => {
    const contender = await stores.contenders.ours(at, { touchAfter: 0, ...features[name] });
    let messages = 0;
    const count = () => {
      messages += 1;
    };
    if (name === SUBSCRIBED) subscribe(CHANNEL, count);
    const touchIsRead = name !== SKIPPED;
    const results = await runOperations({ ...contender, touchIsRead }, inFlight, RUN_MS);
    unsubscribe(CHANNEL, count);
    if (name === SUBSCRIBED && messages === 0) throw new Error("no messages");
    await contender.close();
    return results;
  };
  const levels = {};
  for (const inFlight of IN_FLIGHT) levels[inFlight] = await interleave(names, rounds, run(inFlight));
  return { levels };
}

/** The median ratio of a store with a feature to a store without it, in operations per second. */
export function featureRatio({ levels }, inFlight, operation, name) {
  return ratio(levels[inFlight], name, NONE, results => results[operation].perSecond);
}

export function report(measured) {
  const levels = Object.keys(measured.levels);
  const names = Object.keys(measured.levels[1][0]).filter(name => name !== NONE);
  const cells = value =>
    OPERATIONS.map(operation => levels.map(level => value(operation, level)).join(" / "));
  const absolute = cells((operation, level) =>
    figure(middle(measured.levels[level], NONE, results => results[operation].perSecond)),
  );
  return table(
    [`with / without, ${levels.join(" / ")} in flight`, ...OPERATIONS],
    [
      ["without any: operations a second", ...absolute],
      ...names.map(name => [
        name,
        ...cells((operation, level) => figure(featureRatio(measured, level, operation, name))),
      ]),
    ],
  );
}
