// Copies the results into the committed files: the chart and a table of absolute figures into the README, and a table
// of ratios into that of the benchmark. All figures go into RESULTS.md, with the charts. The text between the markers
// is replaced.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pageRatio, REFERENCE } from "../parts/http.js";
import { contendersOf, operationRatio } from "../parts/operations.js";
import { OPERATIONS } from "./operations.js";
import { figure, middle, table } from "./tables.js";

const IN_FLIGHT = [1, 64];
const [START, END] = ["<!-- bench:start -->", "<!-- bench:end -->"];
const bench = join(import.meta.dirname, "..");

/** Our operations per second relative to each other contender, and page views relative to others. */
export function summaryTable({ operations, http }) {
  const rows = Object.entries(operations).flatMap(([kind, measured]) =>
    contendersOf(measured)
      .filter(name => name !== "ours")
      .map(name => [
        `${kind} / ${name}`,
        ...OPERATIONS.map(operation =>
          IN_FLIGHT.map(level => figure(operationRatio(measured, level, operation, name))).join(" / "),
        ),
        ...["read", "write"].map(page => {
          const isThere = http[kind]?.rounds[0][name] !== undefined;
          return isThere ? figure(pageRatio(http[kind], page, name)) : "";
        }),
      ]),
  );
  const pages = Object.entries(http)
    .filter(([kind]) => kind !== "memory")
    .map(([kind, measured]) => [
      `${kind} / ${REFERENCE}`,
      ...OPERATIONS.map(() => ""),
      ...["read", "write"].map(page => figure(pageRatio(measured, page))),
    ]);
  return table(["ours / theirs", ...OPERATIONS, "reading page", "writing page"], [...rows, ...pages]);
}

/** The peers that readers of the README may know, shown beside our stores. */
const PEERS = [
  "express-session MemoryStore",
  "memorystore",
  "session-file-store",
  "connect-dynamodb",
  "connect-redis",
];
const OURS = {
  memory: "MemoryStore",
  file: "FileStore",
  dynamodb: "DynamoDBStore, on dynalite",
  etcd: "EtcdStore",
};

/** Absolute figures of the two operations that most requests need. */
function absoluteTable(operations) {
  const many = Math.max(...IN_FLIGHT);
  const rows = Object.entries(operations).flatMap(([kind, { levels }]) => {
    const of = (level, name, operation, key) =>
      figure(middle(levels[level], name, results => results[operation][key]));
    return ["ours", ...PEERS]
      .filter(name => name in levels[1][0])
      .map(name => [
        name === "ours" ? OURS[kind] : name,
        ...["get", "set loaded"].flatMap(operation => [
          of(1, name, operation, "p50"),
          of(many, name, operation, "perSecond"),
        ]),
      ]);
  });
  const head = [
    "one `get`, one save of a loaded session",
    "get: p50 in ms",
    `gets a second, ${many} in flight`,
    "save: p50 in ms",
    `saves a second, ${many} in flight`,
  ];
  return table(head, rows);
}

function replaceBetweenMarkers(file, content) {
  const text = readFileSync(file, "utf8");
  const [start, end] = [text.indexOf(START), text.indexOf(END)];
  if (start < 0 || end < start) throw new Error(`${file} has no ${START} and ${END} to write between`);
  writeFileSync(file, `${text.slice(0, start + START.length)}\n\n${content}\n\n${text.slice(end)}`);
}

export function publish(results, { sections, targets, charts }) {
  if (Object.values(results.scale).some(({ bounded }) => bounded)) {
    throw new Error("the part scale was measured with BENCH_MAX_SESSIONS, and is not for publishing");
  }
  if (Object.values(results.operations).some(measured => contendersOf(measured).includes("baseline"))) {
    throw new Error("the part operations was measured with BENCH_BASELINE, and is not for publishing");
  }
  const inFlight = Math.max(...IN_FLIGHT);
  const readme = [
    "![Operations a second relative to other stores](bench/charts/operations.svg)",
    absoluteTable(results.operations),
    "Made by `npm run bench -- --publish`. dynalite is an emulation: its rates compare clients only. " +
      "[The benchmark](bench/README.md) has the method, " +
      "[its results](bench/RESULTS.md) have the machine, the date and all figures.",
  ];
  const ratios = [
    summaryTable(results),
    `Operations a second with 1 / ${inFlight} in flight, and pages a second with ${inFlight} connections, relative to the ` +
      "other store. More than 1 means that this package is faster.",
  ];
  replaceBetweenMarkers(join(bench, "..", "README.md"), readme.join("\n\n"));
  replaceBetweenMarkers(join(bench, "README.md"), ratios.join("\n\n"));
  replaceBetweenMarkers(join(bench, "RESULTS.md"), ["## Targets", targets, sections].join("\n\n"));
  mkdirSync(join(bench, "charts"), { recursive: true });
  for (const [name, svg] of Object.entries(charts)) writeFileSync(join(bench, "charts", `${name}.svg`), svg);
  console.log("published in README.md, bench/README.md, bench/RESULTS.md and bench/charts");
}
