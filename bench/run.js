// npm run bench -- [part ...] [kind ...] [--rounds N] [--report] [--publish]
//
// Measures the stores beside their peers and beside the raw clients. Each part runs for each kind of store in a process
// of its own, its contenders in turn, round by round. What was measured last is kept in results/, and the reports are
// made of all that is there: --report only makes the reports, --publish copies them into the READMEs.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chart } from "./lib/chart.js";
import { machine, versionsOf } from "./lib/machine.js";
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
];
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

/** Those that were named, or all if none was. */
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
mkdirSync(RESULTS, { recursive: true });

if (!values.report) {
  console.log(`${machine()}, ${rounds} rounds\n`);
  for (const kind of chosen(KINDS)) {
    const { versions } = await import(`./stores/${kind}.js`);
    for (const name of chosen(PARTS).filter(part => parts[part].kinds.includes(kind))) {
      const began = performance.now();
      const measured = measurePart(name, kind);
      const result = {
        date: new Date().toISOString(),
        machine: machine(),
        versions: versionsOf(versions),
        rounds,
      };
      writeFileSync(fileOf(name, kind), JSON.stringify({ ...result, measured }));
      const seconds = Math.round((performance.now() - began) / 1000);
      console.log(`## ${kind}: ${parts[name].title} (${seconds} s)\n\n${parts[name].report(measured)}\n`);
    }
  }
}

/** Each part's results by kind of store, as far as there are any. */
const results = {};
const sections = [];
for (const name of PARTS) {
  results[name] = {};
  const kinds = parts[name].kinds.filter(kind => existsSync(fileOf(name, kind)));
  if (kinds.length === 0) continue;
  sections.push(`## ${parts[name].title}`);
  for (const kind of kinds) {
    const { measured, ...circumstances } = JSON.parse(readFileSync(fileOf(name, kind), "utf8"));
    results[name][kind] = measured;
    sections.push(
      `### ${kind}`,
      parts[name].report(measured),
      `${circumstances.rounds} rounds, ${circumstances.date.slice(0, 10)}. ${circumstances.machine}. ` +
        `${circumstances.versions}.`,
    );
  }
}

const targets = targetTable(results);
const report = { sections: sections.join("\n\n"), targets, chart: chart(results.operations) };
writeFileSync(join(RESULTS, "results.md"), `${report.sections}\n`);
writeFileSync(join(RESULTS, "targets.md"), `${targets}\n`);
writeFileSync(join(RESULTS, "chart.svg"), report.chart);
console.log(`## Targets\n\n${targets}`);
if (values.publish) publish(results, report);
