// The `get` of a session that does not exist, and twenty parallel requests that each change another part of one
// session.
import { interleave, median, ratio } from "../lib/measure.js";
import { get, set } from "../lib/operations.js";
import { assertSession, inflate, newSession, newSid } from "../lib/sessions.js";
import { figure, middle, table } from "../lib/tables.js";

export const kinds = ["memory", "file", "dynamodb", "etcd"];
export const title = "Unknown sessions and bursts";

const REQUESTS = 20;
const BURSTS = 20;
const GETS = 200;
/** Long enough for session-file-store, which searches a missing session for a quarter of a second. */
const GETS_MS = 700;

export async function measurePart({ stores: { contenders, limits }, at, rounds }) {
  const names = Object.keys(contenders).filter(name => !limits.includes(name));
  const measured = await interleave(names, rounds, async name => {
    const contender = await contenders[name](at, { touchAfter: 0 });
    const results = { ...(await runGets(contender)), ...(await runBursts(contender)) };
    await contender.close();
    return results;
  });
  return { rounds: measured };
}

async function runGets(contender) {
  globalThis.gc();
  const sid = newSid();
  await set(contender, sid, newSession(sid, contender.store));
  const known = await medianOf(async () => assertSession(await get(contender, sid), sid, 0));
  const unknown = await medianOf(async () => {
    if (await get(contender, newSid())) throw new Error("found a session that was never written");
  });
  return { known, unknown };
}

async function medianOf(work) {
  const times = [];
  const start = performance.now();
  while (times.length < GETS && performance.now() - start < GETS_MS) {
    const began = performance.now();
    await work();
    times.push(performance.now() - began);
  }
  return median(times);
}

async function runBursts(contender) {
  const { store } = contender;
  const times = [];
  let fewest = REQUESTS;
  for (let burst = 0; burst < BURSTS; burst++) {
    const sid = newSid();
    await set(contender, sid, newSession(sid, store));
    const began = performance.now();
    await Promise.all(
      Array.from({ length: REQUESTS }, async (_none, index) => {
        const session = inflate(sid, store, await get(contender, sid));
        session[`change${index}`] = index;
        await set(contender, sid, session);
      }),
    );
    times.push(performance.now() - began);
    const after = await get(contender, sid);
    assertSession(after, sid, 0);
    const kept = Array.from({ length: REQUESTS }, (_none, index) => after[`change${index}`] === index);
    fewest = Math.min(fewest, kept.filter(Boolean).length);
  }
  return { burst: median(times), kept: fewest };
}

export function burstRatio({ rounds }, theirs, key) {
  return ratio(rounds, "ours", theirs, results => results[key]);
}

export function unknownRatio({ rounds }) {
  return median(rounds.map(({ ours }) => ours.unknown / ours.known));
}

export function keptOf({ rounds }, name) {
  return Math.min(...rounds.map(round => round[name].kept));
}

export function report(measured) {
  return table(
    [
      "1 in flight",
      "get of a known session, ms",
      "of an unknown one, ms",
      `burst of ${REQUESTS} requests, ms`,
      `changes left of ${REQUESTS}`,
      "unknown: ours / theirs",
      "burst: ours / theirs",
    ],
    Object.keys(measured.rounds[0]).map(name => [
      name,
      ...["known", "unknown", "burst"].map(key =>
        figure(middle(measured.rounds, name, results => results[key])),
      ),
      keptOf(measured, name),
      ...["unknown", "burst"].map(key => (name === "ours" ? "–" : figure(burstRatio(measured, name, key)))),
    ]),
  );
}
