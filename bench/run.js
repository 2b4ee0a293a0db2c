// npm run bench -- [part ...] [kind ...] [--rounds N] [--report] [--publish]
//
// Measures the stores beside their peers and the raw clients. Each part runs for each kind of store in its own process,
// its contenders in turn, round by round. The last measurements are kept in results/, and the reports contain all of
// them. --report only makes the reports, --publish copies them into the documents and the charts.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { processesChart, scaleChart } from "./lib/curves.js";
import { planTable, secondsOf } from "./lib/durations.js";
import { machine, versionsOf } from "./lib/machine.js";
import { operationsChart } from "./lib/operations-chart.js";
import { publish } from "./lib/publish.js";
import { targetTable } from "./lib/targets.js";

const PARTS = [
  "operations",
  "http",
  "listings",
  "cleanup",
  "heap",
  "costs",
  "burst",
  "cold",
  "allocations",
  "users",
  "migrate",
  "scale",
  "processes",
  "features",
];
/** The parts that have a chart, by kind of store. The README shows the chart of `operations`. */
const CHARTS = { operations: operationsChart, scale: scaleChart, processes: processesChart };
const KINDS = ["memory", "file", "dynamodb", "etcd"];
const RESULTS = join(import.meta.dirname, "results");

const usage = `usage: npm run bench -- [${PARTS.join(" ")}] [${KINDS.join(" ")}] [--rounds N] [--report] [--publish]`;

function fail(message) {
  console.error(message);
  process.exit(2);
}

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        rounds: { type: "string", default: "5" },
        report: { type: "boolean", default: false },
        publish: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    return fail(`${error.message}\n${usage}`);
  }
}

const { values, positionals } = parse();
const rounds = Number(values.rounds);
const isKnown = name => PARTS.includes(name) || KINDS.includes(name);
if (!positionals.every(isKnown) || !Number.isInteger(rounds) || rounds < 1) fail(usage);

/** The named ones, or all if none was named. */
const chosen = all => {
  const named = all.filter(name => positionals.includes(name));
  return named.length > 0 ? named : all;
};

const fileOf = (name, kind) => join(RESULTS, `${name}-${kind}.json`);

function measurePart(name, kind) {
  const file = join(RESULTS, "measured.json");
  const { status } = spawnSync(
    process.execPath,
    ["--expose-gc", join(import.meta.dirname, "part.js"), name, kind, String(rounds), file],
    { stdio: "inherit", env: { ...process.env, NODE_NO_WARNINGS: "1" } },
  );
  if (status !== 0) process.exit(1);
  return JSON.parse(readFileSync(file, "utf8"));
}

const parts = {};
for (const name of PARTS) parts[name] = await import(`./parts/${name}.js`);
mkdirSync(join(RESULTS, "charts"), { recursive: true });

if (!values.report) {
  const planned = chosen(KINDS).flatMap(kind =>
    chosen(PARTS)
      .filter(part => parts[part].kinds.includes(kind))
      .map(part => ({ part, kind, seconds: secondsOf(part, kind, rounds, fileOf(part, kind)) })),
  );
  console.log(`${machine()}, ${rounds} rounds\n\n${planTable(planned)}\n`);
  for (const { part: name, kind } of planned) {
    const { versions } = await import(`./stores/${kind}.js`);
    const began = performance.now();
    const measured = measurePart(name, kind);
    const seconds = Math.round((performance.now() - began) / 1000);
    const result = {
      date: new Date().toISOString(),
      machine: machine(),
      versions: versionsOf(versions),
      rounds,
      seconds,
    };
    writeFileSync(fileOf(name, kind), JSON.stringify({ ...result, measured }));
    console.log(`## ${kind}: ${parts[name].title} (${seconds} s)\n\n${parts[name].report(measured)}\n`);
  }
}

/** The results of each part by kind of store, if there are any. */
const results = {};
const charts = {};
const sections = [];
const notMeasured = [];
for (const name of PARTS) {
  results[name] = {};
  const kinds = parts[name].kinds.filter(kind => existsSync(fileOf(name, kind)));
  notMeasured.push(...parts[name].kinds.filter(kind => !kinds.includes(kind)).map(kind => `${name} ${kind}`));
  if (kinds.length === 0) continue;
  const ofKinds = [];
  for (const kind of kinds) {
    const { measured, ...circumstances } = JSON.parse(readFileSync(fileOf(name, kind), "utf8"));
    results[name][kind] = measured;
    ofKinds.push(
      `### ${kind}`,
      parts[name].report(measured),
      `${circumstances.rounds} rounds, ${circumstances.date.slice(0, 10)}. ${circumstances.machine}. ` +
        `${circumstances.versions}.`,
    );
  }
  sections.push(`## ${parts[name].title}`);
  if (name in CHARTS) {
    charts[name] = CHARTS[name](results[name]);
    sections.push(`![${parts[name].title}](charts/${name}.svg)`);
  }
  sections.push(...ofKinds);
}

const targets = targetTable(results);
const report = { sections: sections.join("\n\n"), targets, charts };
writeFileSync(join(RESULTS, "results.md"), `${report.sections}\n`);
writeFileSync(join(RESULTS, "targets.md"), `${targets}\n`);
for (const [name, svg] of Object.entries(charts)) writeFileSync(join(RESULTS, "charts", `${name}.svg`), svg);
console.log(`## Targets\n\n${targets}`);
if (notMeasured.length > 0)
  console.log(`\nNot in the reports, since there are no results: ${notMeasured.join(", ")}`);
if (values.publish) publish(results, report);
