// The targets, each with its measurements. `results[part][kind]` are the results of the parts that were run.

import { burstRatio, keptOf, unknownRatio } from "../parts/burst.js";
import { cleanup } from "../parts/cleanup.js";
import { coldRatio } from "../parts/cold.js";
import { heapRatio } from "../parts/heap.js";
import { pageRatio } from "../parts/http.js";
import { listing, slowdown } from "../parts/listings.js";
import { operationRatio } from "../parts/operations.js";
import { OPERATIONS } from "./operations.js";
import { figure, table } from "./tables.js";

const PEER = "express-session MemoryStore";
const LEVELS = [1, 16, 64];

/** A target whose figures, each with a name, must all reach the bound. */
const atLeast = (bound, figures) => ({ bound, figures, isMet: value => value >= bound, sign: ">=" });
const atMost = (bound, figures) => ({ bound, figures, isMet: value => value <= bound, sign: "<=" });

/** Ratios of operations: every operation at every number in flight. */
function ratios(measured, theirs, operations, levels = LEVELS) {
  return Object.fromEntries(
    operations.flatMap(operation =>
      levels.map(level => [`${operation} at ${level}`, operationRatio(measured, level, operation, theirs)]),
    ),
  );
}

const SETS = ["set new", "set loaded"];

/** The promises for each kind of store: the contenders, the quantity, and the part that measures it. */
const targets = [
  ["memory", `set, get against ${PEER}`, "operations", m => atLeast(1, ratios(m, PEER, [...SETS, "get"]))],
  ["memory", `touch against ${PEER}`, "operations", m => atLeast(8, ratios(m, PEER, ["touch"]))],
  [
    "memory",
    "set, get: the base class adds at most 15 % to a Map with JSON",
    "operations",
    m => atLeast(1 / 1.15, ratios(m, "Map with JSON", [...SETS, "get"])),
  ],
  [
    "memory",
    "length() of 100,000, ms",
    "listings",
    m => atMost(5, { ms: listing(m, 100_000, "ours", "length", "ms") }),
  ],
  [
    "memory",
    "all() of 100,000: longest hold, ms",
    "listings",
    m => atMost(20, { hold: listing(m, 100_000, "ours", "all", "holdMs") }),
  ],
  [
    "memory",
    "cleanup of 1 % of 100,000: longest hold, ms",
    "cleanup",
    m => atMost(20, { hold: cleanup(m, "ours", "holdMs") }),
  ],
  ["memory", `heap for a session against ${PEER}`, "heap", m => atMost(1, { heap: heapRatio(m, PEER) })],
  ["memory", `page views against ${PEER}`, "http", m => atLeast(1, pages(m))],
  [
    "file",
    "set against session-file-store",
    "operations",
    m => atLeast(12, ratios(m, "session-file-store", SETS, [64])),
  ],
  [
    "file",
    "get against session-file-store",
    "operations",
    m => atLeast(4, ratios(m, "session-file-store", ["get"], [64])),
  ],
  [
    "file",
    "touch against session-file-store",
    "operations",
    m => atLeast(20, ratios(m, "session-file-store", ["touch"], [64])),
  ],
  [
    "file",
    "each operation against raw durable lmdb",
    "operations",
    m => atLeast(0.8, ratios(m, "raw lmdb, durable", OPERATIONS)),
  ],
  ["file", `reading pages against ${PEER}`, "http", m => atLeast(0.95, { read: pageRatio(m, "read") })],
  ["file", `writing pages against ${PEER}`, "http", m => atLeast(0.8, { write: pageRatio(m, "write") })],
  [
    "file",
    "cleanup of 1 % of 100,000: work, ms",
    "cleanup",
    m => atMost(15, { work: cleanup(m, "ours", "workMs") }),
  ],
  [
    "file",
    "cleanup of 1 % of 100,000: longest hold, ms",
    "cleanup",
    m => atMost(5, { hold: cleanup(m, "ours", "holdMs") }),
  ],
  ["file", "get of an unknown sid against a known one", "burst", m => atMost(1.1, { time: unknownRatio(m) })],
  [
    "dynamodb",
    "set, touch, destroy against raw DocumentClient",
    "operations",
    m => atLeast(0.95, ratios(m, "raw DocumentClient", [...SETS, "touch", "destroy"])),
  ],
  [
    "dynamodb",
    "get against raw DocumentClient, many",
    "operations",
    m => atLeast(5, ratios(m, "raw DocumentClient", ["get"], [64])),
  ],
  [
    "dynamodb",
    "get against raw DocumentClient, alone",
    "operations",
    m => atLeast(0.95, ratios(m, "raw DocumentClient", ["get"], [1])),
  ],
  [
    "dynamodb",
    "write requests of 1,000 page views in 1,000 s",
    "costs",
    m => atMost(20, { ours: m.seconds.ours.writes }),
  ],
  [
    "dynamodb",
    "read units with `consistentRead: false`",
    "costs",
    m => atMost(0.5, { share: m.reads.false / m.reads.true }),
  ],
  [
    "dynamodb",
    "write units of the session measured",
    "costs",
    m => atMost(1, { "signing in": m.steps.ours["signing in"].writeUnits }),
  ],
  [
    "etcd",
    "each operation against raw etcd3, alone",
    "operations",
    m => atLeast(0.9, ratios(m, "raw etcd3", OPERATIONS, [1])),
  ],
  [
    "etcd",
    "each operation against conditional writes of etcd3, alone",
    "operations",
    m => atLeast(0.8, ratios(m, "etcd3, conditional", OPERATIONS, [1])),
  ],
  ["etcd", "get against raw etcd3", "operations", m => atLeast(6, ratios(m, "raw etcd3", ["get"], [64]))],
  ["etcd", "set against raw etcd3", "operations", m => atLeast(2.5, ratios(m, "raw etcd3", SETS, [64]))],
  ["etcd", "touch against raw etcd3", "operations", m => atLeast(3, ratios(m, "raw etcd3", ["touch"], [64]))],
  ["etcd", `page views against ${PEER}`, "http", m => atLeast(0.5, pages(m))],
  ["etcd", "page views against connect-redis", "http", m => atLeast(0.55, pages(m, "connect-redis"))],
  [
    "etcd",
    "leases of 10,000 sessions touched 10 times",
    "costs",
    m => atMost(10, { leases: m.touched.ours.leases }),
  ],
  [
    "etcd",
    "etcd's resident memory against raw puts",
    "costs",
    m => atMost(1, { memory: m.touched.ours.residentMB / m.touched["raw etcd3"].residentMB }),
  ],
  [
    "etcd",
    "p99 of gets while 100,000 sessions are listed, against alone",
    "listings",
    m => atMost(3, { p99: slowdown(m) }),
  ],
  ...["file", "dynamodb", "etcd"].flatMap(kind => [
    [
      kind,
      "get of an unknown sid against the peers",
      "burst",
      m => atMost(1, besides(m, burstRatio, "unknown")),
    ],
    [
      kind,
      "burst of 20 requests against the peers",
      "burst",
      m => atMost(1, besides(m, burstRatio, "burst")),
    ],
    [kind, "changes left of a burst of 20", "burst", m => atLeast(20, { ours: keptOf(m, "ours") })],
    [kind, "cold start against the peers", "cold", m => atMost(1, besides(m, coldRatio))],
  ]),
];

function pages(measured, theirs) {
  return Object.fromEntries(["read", "write"].map(page => [page, pageRatio(measured, page, theirs)]));
}

/** Returns a ratio for each peer. Raw clients have lower targets. */
function besides(measured, ratioOf, key) {
  const peers = Object.keys(measured.rounds[0]).filter(name => name !== "ours" && !name.startsWith("raw "));
  return Object.fromEntries(peers.map(name => [name, ratioOf(measured, name, key)]));
}

/** The table of targets, with the measurements and whether each target is met. */
export function targetTable(results) {
  const rows = targets.map(([kind, what, part, judge]) => {
    const measured = results[part]?.[kind];
    if (measured === undefined) return [`${kind}: ${what}`, "–", "not measured", "–"];
    const { bound, figures, isMet, sign } = judge(measured);
    const isMissed = Object.values(figures).some(value => !isMet(value));
    const shown = Object.entries(figures).map(([name, value]) => `${name}: ${figure(value)}`);
    return [`${kind}: ${what}`, `${sign} ${figure(bound)}`, shown.join(", "), isMissed ? "**no**" : "yes"];
  });
  return table(["target", "wanted", "measured", "met"], rows);
}
