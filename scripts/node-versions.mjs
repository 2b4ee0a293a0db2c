// Runs the tests on other versions of Node.js, one after the other, and prints how many passed on each.
//
//   node scripts/node-versions.mjs [version ...] [-- arguments for jest]
//
// Without versions: 20, 22, 24 and 26. The binaries come from the npm packages node-<platform>-<architecture>.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const cache = join(root, "node_modules", ".cache", "express-session-stores", "node");
const separator = process.argv.indexOf("--");
const end = separator < 0 ? process.argv.length : separator;
const versions = process.argv.slice(2, end);
const jestArguments = process.argv.slice(end + 1);

if (!versions.every(version => /^\d+(\.\d+){0,2}$/.test(version))) {
  console.error("usage: node scripts/node-versions.mjs [version ...] [-- arguments for jest]");
  process.exit(2);
}

/** Runs a program to its end. Rejects if the program fails. */
function run(command, args, options = {}) {
  const { status, error, stdout } = spawnSync(command, args, { encoding: "utf8", ...options });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${status}`);
  return stdout;
}

/** The path of a binary of this version, which is downloaded if it is missing. */
function binaryOf(version) {
  const folder = join(cache, version);
  const binary = join(folder, "package", "bin", "node");
  if (existsSync(binary)) return binary;
  mkdirSync(cache, { recursive: true });
  const temporary = mkdtempSync(join(cache, "download-"));
  const name = `node-${process.platform}-${process.arch}@${version}`;
  const [{ filename }] = JSON.parse(run("npm", ["pack", "--json", name], { cwd: temporary }));
  run("tar", ["-xzf", filename], { cwd: temporary });
  rmSync(join(temporary, filename));
  renameSync(temporary, folder);
  return binary;
}

function test(version) {
  const binary = binaryOf(version);
  const report = join(mkdtempSync(join(tmpdir(), "express-session-stores-node-")), "report.json");
  const jest = join(root, "node_modules", "jest", "bin", "jest.js");
  // Programs that the tests start by the name `node` use this version too.
  const env = { ...process.env, PATH: dirname(binary) + delimiter + process.env.PATH };
  const args = [jest, "--json", `--outputFile=${report}`, ...jestArguments];
  const { status } = spawnSync(binary, args, { cwd: root, env, stdio: ["ignore", "ignore", "inherit"] });
  const counts = existsSync(report) ? JSON.parse(readFileSync(report, "utf8")) : {};
  rmSync(dirname(report), { recursive: true });
  const { numPassedTests: passed = 0, numFailedTests = 0, numRuntimeErrorTestSuites = 0 } = counts;
  const failed = numFailedTests + numRuntimeErrorTestSuites;
  const line = `Node.js ${run(binary, ["--version"]).trim()}: ${passed} passed, ${failed} failed`;
  return { line, isPassed: status === 0 && passed > 0 && failed === 0 };
}

const results = [];
for (const version of versions.length > 0 ? versions : ["20", "22", "24", "26"]) results.push(test(version));
for (const { line } of results) console.log(line);
process.exit(results.every(({ isPassed }) => isPassed) ? 0 : 1);
