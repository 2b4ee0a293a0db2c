// Installs the peers with npm, and builds the native part of sqlite3 if npm did not.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname } from "node:path";

const require = createRequire(import.meta.url);

function run(command, args, cwd) {
  const { status } = spawnSync(command, args, { cwd, stdio: "inherit" });
  if (status !== 0) process.exit(1);
}

run("npm", ["install", "--no-audit", "--no-fund"], import.meta.dirname);
try {
  require("sqlite3");
} catch {
  run("npx", ["--yes", "node-gyp", "rebuild"], dirname(require.resolve("sqlite3/package.json")));
}
