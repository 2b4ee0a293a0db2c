// Deleting the 1 % of sessions that have expired: the duration, the time that the event loop works, and its longest
// hold.
import { mock } from "node:test";
import { interleave, measureHold, measureWork } from "../lib/measure.js";
import { get } from "../lib/operations.js";
import { newSession } from "../lib/sessions.js";
import { figure, middle, table } from "../lib/tables.js";
import { call, fill, removals } from "./listings.js";

export const kinds = ["memory", "file"];
export const title = "Cleanup of 1 % expired";

const SHORT_AGE_MS = 10_000;
/** After the end of the short-lived sessions, with their slack and grace period, and before the end of all others. */
const LATER_MS = 120_000;

const stores = {
  memory: {
    ours: { count: 100_000, cleanup: store => store.cleanup() },
    // It has no cleanup, but deletes expired sessions when they are listed.
    "express-session MemoryStore": { count: 100_000, cleanup: store => call(store, "all") },
    memorystore: { count: 100_000, cleanup: async store => store.prune() },
  },
  file: {
    ours: { count: 100_000, cleanup: store => store.cleanup() },
    "session-file-store": {
      count: 10_000,
      cleanup: store =>
        new Promise((resolve, reject) => {
          reapFiles(store.options, error => (error ? reject(error) : resolve()));
        }),
    },
    // The cleanup that it runs by itself once a day.
    "connect-sqlite3 (WAL)": {
      count: 100_000,
      cleanup: ({ db, table }) =>
        new Promise((resolve, reject) => {
          db.run(`DELETE FROM ${table} WHERE ? > expired`, [Date.now()], error =>
            error ? reject(error) : resolve(),
          );
        }),
    },
  },
};

let reapFiles;

export async function measurePart({ kind, stores: { contenders }, at, rounds }) {
  if (kind === "file")
    ({ reap: reapFiles } = (await import("session-file-store/lib/session-file-helpers.js")).default);
  const opened = {};
  for (const [name, { count }] of Object.entries(stores[kind])) {
    opened[name] = await contenders[name](at, { cleanupInterval: 0, now: () => Date.now() });
    opened[name].kept = await fill(opened[name], count * 0.99);
  }
  const measured = await interleave(Object.keys(opened), rounds, async name => {
    const contender = opened[name];
    const { count, cleanup } = stores[kind][name];
    const work = async () => {
      await cleanup(contender.store);
      await removals(contender, contender.kept.length);
    };
    const { ms, holdMs } = await withExpired(contender, count, () => measureHold(work));
    const workMs = await withExpired(contender, count, () => measureWork(work));
    return { count, ms, holdMs, workMs };
  });
  for (const contender of Object.values(opened)) await contender.close();
  return { rounds: measured };
}

async function withExpired(contender, count, work) {
  const { store, kept } = contender;
  const expired = await fill(contender, count * 0.01, sid => {
    const session = newSession(sid, store);
    session.cookie.maxAge = SHORT_AGE_MS;
    return session;
  });
  if ((await call(store, "length")) !== count) throw new Error("not filled");
  mock.timers.enable({ apis: ["Date"], now: Date.now() + LATER_MS });
  const result = await work();
  mock.timers.reset();
  // With the real time again, expired sessions are counted unless they were deleted.
  const left = await call(store, "length");
  if (left !== kept.length) throw new Error(`${left} left, expected ${kept.length}`);
  if (!(await get(contender, kept[0])) || (await get(contender, expired[0]))) throw new Error("wrong ones");
  return result;
}

export function cleanup({ rounds }, name, key) {
  return middle(rounds, name, results => results[key]);
}

export function report(measured) {
  return table(
    ["cleanup", "sessions", "ms", "ms of work in the event loop", "longest hold in ms"],
    Object.keys(measured.rounds[0]).map(name => [
      name,
      ...["count", "ms", "workMs", "holdMs"].map(key => figure(cleanup(measured, name, key))),
    ]),
  );
}
