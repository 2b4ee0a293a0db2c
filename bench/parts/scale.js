// `get` and the save of a loaded session against the number of stored sessions, and the time to open a file with them.
// Each contender has its own process, because a garbage collection visits everything that a process keeps.
import { runChild, startChild } from "../lib/child.js";
import { interleave } from "../lib/measure.js";
import { figure, middle, table } from "../lib/tables.js";

export const kinds = ["memory", "file", "dynamodb", "etcd"];
export const title = "Operations by the number of stored sessions";

export const TIMED = ["get", "set loaded"];
const IN_FLIGHT = [1, 64];
/** Few rounds, because most of the time is spent on filling. */
const MOST_ROUNDS = 3;
const RUN_MS = 250;

/** A smaller number of sessions, to try this part. */
const { BENCH_MAX_SESSIONS: most = "1000000" } = process.env;
const bounded = most !== "1000000";

const SIZES = [1000, 10_000, 100_000, 300_000, 1_000_000];
/** The largest number of stored sessions with which each contender takes part. */
const contenders = {
  memory: { ours: 1_000_000, "express-session MemoryStore": 1_000_000, memorystore: 1_000_000 },
  // It writes a file for each session, so 100,000 take it a minute.
  file: { ours: 1_000_000, "session-file-store": 100_000 },
  // An emulation in one process of Node.js.
  dynamodb: { ours: 10_000, "connect-dynamodb": 10_000 },
  // A session takes 1.4 KB of etcd's default quota of 2 GiB.
  etcd: { ours: 300_000, "connect-redis": 1_000_000 },
};
const sizesOf = kind => SIZES.filter(size => size <= Number(most) && (size !== 300_000 || kind === "etcd"));

/**
 * Files with these numbers of sessions are opened, and the largest. From 200 MB on, opening a file checks only a part
 * of it.
 */
const OPENED = [1000, 100_000];

/** No sweeps, because they would run while another contender is measured. */
const options = { memory: { cleanupInterval: 0 }, file: { cleanupInterval: 0 } };

const LARGE_HEAP = ["--expose-gc", "--max-old-space-size=8192"];

export async function measurePart({ kind, at, rounds }) {
  const place = { ...at, kept: "scale" };
  const children = {};
  const start = async (name, where) => {
    const child = startChild("stored", { kind, name, at: where, options: options[kind] }, LARGE_HEAP);
    await child.message();
    return child;
  };
  const sizes = {};
  let large;
  try {
    for (const name of Object.keys(contenders[kind])) children[name] = await start(name, place);
    for (const size of sizesOf(kind)) {
      const names = Object.keys(contenders[kind]).filter(name => size <= contenders[kind][name]);
      if (names.length === 0) continue;
      const filled = {};
      for (const name of names) filled[name] = (await children[name].ask(["fill", size])).perSecond;
      const levels = {};
      for (const inFlight of IN_FLIGHT) {
        levels[inFlight] = await interleave(
          names,
          Math.min(rounds, MOST_ROUNDS),
          name => children[name].ask(["run", inFlight, RUN_MS]),
          { warmUp: size === SIZES[0] },
        );
      }
      sizes[size] = { filled, levels };
    }
    if (kind === "file") large = await children.ours.ask(["sample"]);
  } finally {
    for (const child of Object.values(children)) await child.stop();
  }
  if (kind !== "file") return { sizes, bounded };

  const files = {};
  const largest = Math.max(...sizesOf(kind));
  for (const size of OPENED.filter(each => each < largest)) {
    const where = { ...at, kept: `open-${size}` };
    const child = await start("ours", where);
    await child.ask(["fill", size]);
    files[size] = { at: where, ...(await child.ask(["sample"])) };
    await child.stop();
  }
  files[largest] = { at: place, ...large };
  const opened = await interleave(
    Object.keys(files),
    rounds,
    size => runChild("open", { kind, name: "ours", ...files[size] }, ["--expose-gc"]),
    { warmUp: false },
  );
  return { sizes, opened, bounded };
}

export function scaleValue({ sizes }, size, inFlight, name, operation, key) {
  return middle(sizes[size].levels[inFlight], name, results => results[operation][key]);
}

/** The contenders, in the order in which they are shown. */
export function contendersOf({ sizes }) {
  return Object.keys(Object.values(sizes)[0].filled);
}

export function report(measured) {
  const sizes = Object.keys(measured.sizes);
  const names = contendersOf(measured);
  const columns = sizes.map(size => figure(Number(size)));
  const tables = TIMED.map(operation =>
    table(
      [`${operation}: a second (p50, p99 in ms)`, ...columns],
      names.flatMap(name =>
        IN_FLIGHT.map(inFlight => [
          `${name}, ${inFlight} in flight`,
          ...sizes.map(size => {
            const of = key => figure(scaleValue(measured, size, inFlight, name, operation, key));
            return of("p50") === "–" ? "–" : `${of("perSecond")} (${of("p50")}, ${of("p99")})`;
          }),
        ]),
      ),
    ),
  );
  tables.push(
    table(
      ["first saves a second until there are as many", ...columns],
      names.map(name => [name, ...sizes.map(size => figure(measured.sizes[size].filled[name]))]),
    ),
  );
  if (measured.opened) {
    tables.push(
      table(
        ["opening a file and the first get", "ms", "longest hold in ms"],
        Object.keys(measured.opened[0]).map(size => [
          `${figure(Number(size))} sessions`,
          ...["ms", "holdMs"].map(key => figure(middle(measured.opened, size, results => results[key]))),
        ]),
      ),
    );
  }
  return tables.join("\n\n");
}
