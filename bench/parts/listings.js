// length(), all(), iteration and clear(), with the longest time that each holds the event loop. On etcd also the
// latency of gets while all sessions are listed.
import { interleave, measure, measureHold, median, percentile } from "../lib/measure.js";
import { get } from "../lib/operations.js";
import { assertSession, newSession, newSid } from "../lib/sessions.js";
import { figure, middle, table } from "../lib/tables.js";

export const kinds = ["memory", "file", "dynamodb", "etcd"];
export const title = "Listings";

const SIZES = [1000, 10_000, 100_000];
/**
 * The most rounds at 100,000 sessions, and of listings on engines where each takes long. Only their times are reported.
 * Smaller sizes have warmed up before.
 */
const MOST_ROUNDS = { memory: 5, file: 3, dynamodb: 3, etcd: 1 };
/** The largest size at which each contender takes part. It is smaller if a listing would take seconds. */
const upTo = {
  memory: {
    ours: 100_000,
    "express-session MemoryStore": 100_000,
    memorystore: 100_000,
  },
  file: { ours: 100_000, "session-file-store": 10_000, "connect-sqlite3 (WAL)": 100_000 },
  // An emulation in one process of Node.js, which takes minutes for 100,000 items.
  dynamodb: { ours: 10_000 },
  etcd: { ours: 100_000 },
};

const LISTINGS = ["length", "all", "entries", "clear"];

export async function measurePart({ kind, stores, at, rounds }) {
  const sizes = {};
  for (const size of SIZES) {
    const names = Object.keys(upTo[kind]).filter(name => size <= upTo[kind][name]);
    if (names.length === 0) continue;
    const few = size === 100_000 || (kind === "dynamodb" && size === 10_000);
    const run = async name => {
      const contender = await stores.contenders[name](at, { touchAfter: 0 });
      const results = await runListings(contender, size);
      await contender.close();
      return results;
    };
    sizes[size] = few
      ? await interleave(names, Math.min(rounds, MOST_ROUNDS[kind]), run, { warmUp: false })
      : await interleave(names, rounds, run);
  }
  const beside = kind === "etcd" && (await getsBesideListing(stores, at, rounds));
  return { sizes, ...(beside && { beside }) };
}

/** Fills a store, in one transaction if that is much quicker. */
export async function fill(contender, count, session = newSession) {
  const { store } = contender;
  const sids = Array.from({ length: count }, newSid);
  const exec = sql =>
    new Promise((done, fail) => store.db.exec(sql, error => (error ? fail(error) : done())));
  if (store.db) await exec("BEGIN");
  await measure(count, 256, (index, done) => contender.set(sids[index], session(sids[index], store), done));
  if (store.db) await exec("COMMIT");
  return sids;
}

/** Waits until at most `left` sessions are left, for stores that call back earlier. */
export async function removals({ store, removesLate }, left) {
  const deadline = performance.now() + 10_000;
  while (removesLate && (await call(store, "length")) > left) {
    if (performance.now() > deadline) throw new Error("not removed");
  }
}

export function call(store, method) {
  return new Promise((resolve, reject) => {
    store[method]((error, value) => (error ? reject(error) : resolve(value)));
  });
}

async function runListings(contender, size) {
  const { store } = contender;
  const sids = new Set(await fill(contender, size));
  const results = {};
  const timed = async (name, work) => {
    const { result, ms, holdMs } = await measureHold(work);
    results[name] = { ms, holdMs };
    return result;
  };
  const assertAll = found => {
    for (const session of found) assertSession(session, session.check.slice(0, -2), 0);
    const listed = new Set(found.map(session => session.check.slice(0, -2)));
    const all = found.length === size && listed.size === size && [...listed].every(sid => sids.has(sid));
    if (!all) throw new Error("not what was written");
  };

  const length = await timed("length", () => call(store, "length"));
  if (length !== size) throw new Error(`length ${length}, expected ${size}`);
  if (store.all) assertAll(Object.values(await timed("all", () => call(store, "all"))));
  if (store.entries) {
    let found = 0;
    await timed("entries", async () => {
      for await (const [sid, session] of store.entries()) {
        if (session.check !== `${sid}/0` || !sids.has(sid)) throw new Error("not what was written");
        found += 1;
      }
    });
    if (found !== size) throw new Error(`${found} entries, expected ${size}`);
  }
  await timed("clear", async () => {
    await call(store, "clear");
    await removals(contender, 0);
  });
  const [first] = sids;
  if ((await call(store, "length")) !== 0 || (await get(contender, first))) throw new Error("not cleared");
  return results;
}

/** The latency of gets alone, and while all sessions are listed in pages. */
async function getsBesideListing({ contenders }, at, rounds) {
  const contender = await contenders.ours(at);
  const { store } = contender;
  const sids = await fill(contender, 100_000);
  const some = sids.slice(0, 1000);
  const getsUntil = async ended => {
    const latencies = [];
    let index = 0;
    const one = async () => {
      while (!ended()) {
        const sid = some[index++ % some.length];
        const began = performance.now();
        assertSession(await get(contender, sid), sid, 0);
        latencies.push(performance.now() - began);
      }
    };
    await Promise.all(Array.from({ length: 4 }, one));
    return { p50: percentile(latencies, 0.5), p99: percentile(latencies, 0.99), gets: latencies.length };
  };
  const run = async name => {
    globalThis.gc();
    if (name === "alone") {
      const until = performance.now() + 1500;
      return await getsUntil(() => performance.now() > until);
    }
    let listed = 0;
    const began = performance.now();
    const listing = (async () => {
      for await (const _entry of store.entries()) listed += 1;
    })();
    let over = false;
    const end = () => {
      over = true;
    };
    listing.then(end, end);
    const gets = await getsUntil(() => over);
    await listing;
    if (listed !== sids.length) throw new Error(`${listed} listed`);
    return { ...gets, listingMs: performance.now() - began };
  };
  // The listings before have warmed up.
  const measured = await interleave(["alone", "while listing"], rounds, run, { warmUp: false });
  await call(store, "clear");
  await contender.close();
  return measured;
}

/** The median of a listing of one contender: `ms` or `holdMs`. */
export function listing({ sizes }, size, name, which, key) {
  return sizes[size] && middle(sizes[size], name, results => results[which]?.[key]);
}

/** The median ratio of the p99 of gets during a listing to that of gets alone. */
export function slowdown({ beside }) {
  return median(beside.map(round => round["while listing"].p99 / round.alone.p99));
}

export function report(measured) {
  const tables = Object.entries(measured.sizes).map(([size, rounds]) =>
    table(
      [`${figure(Number(size))} sessions`, ...LISTINGS.map(name => `${name}: ms (longest hold)`)],
      Object.keys(rounds[0]).map(name => [
        name,
        ...LISTINGS.map(which => {
          const of = key => figure(listing(measured, size, name, which, key));
          return of("ms") === "–" ? "–" : `${of("ms")} (${of("holdMs")})`;
        }),
      ]),
    ),
  );
  const { beside } = measured;
  if (beside) {
    tables.push(
      table(
        ["gets of 100,000 sessions, 4 in flight", "p50 in ms", "p99 in ms", "listing in ms"],
        Object.keys(beside[0]).map(name => [
          name,
          ...["p50", "p99", "listingMs"].map(key => figure(middle(beside, name, results => results[key]))),
        ]),
      ),
    );
  }
  return tables.join("\n\n");
}
