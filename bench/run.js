// npm run bench [-- group ...] [-- --rounds N]: measures the stores beside their peers and beside the raw clients.
// Each group runs in a process of its own, its contenders in turn, round by round; what is compared are medians of
// ratios within a round. Everything that is read back is checked.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { OPERATIONS } from "./lib/operations.js";
import { rateTable, ratioTable } from "./lib/tables.js";

const GROUPS = ["memory", "file", "dynamodb", "etcd"];
const results = join(import.meta.dirname, "results");

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: "string", default: "5" } },
});
const rounds = Number(values.rounds);
const groups = positionals.length > 0 ? positionals : GROUPS;
const unknown = groups.filter(group => !GROUPS.includes(group));
if (unknown.length > 0 || !Number.isInteger(rounds) || rounds < 1) {
  console.error(`usage: npm run bench -- [${GROUPS.join(" ")}] [--rounds N]`);
  process.exit(2);
}

mkdirSync(results, { recursive: true });
const machine = `Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model.trim()}`;
console.log(`${machine}, ${rounds} rounds\n`);
for (const group of groups) {
  const file = join(results, `${group}.json`);
  const { status } = spawnSync(
    process.execPath,
    ["--expose-gc", join(import.meta.dirname, "group.js"), group, String(rounds), file],
    { stdio: "inherit" },
  );
  if (status !== 0) process.exit(1);
  const measured = JSON.parse(readFileSync(file, "utf8"));
  const report = [
    `## ${group}`,
    machine,
    ...OPERATIONS.map(name => rateTable(measured, name)),
    ratioTable(measured, OPERATIONS),
  ];
  writeFileSync(join(results, `${group}.md`), `${report.join("\n\n")}\n`);
  console.log(`${report.join("\n\n")}\n`);
}
