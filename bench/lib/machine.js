import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "..", "..");

/** Describes the machine that the benchmark runs on. */
export function machine() {
  const memory = Math.round(totalmem() / 2 ** 30);
  return `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim()}, ${memory} GB, Linux ${release()}`;
}

const ENGINES = { etcd3: ["etcd", "--version"], "connect-redis": ["redis-server", "--version"] };

/** Returns the versions of packages, and of the engines behind them. */
export function versionsOf(names) {
  return names
    .flatMap(name => [`${name} ${packageVersion(name)}`, engineVersion(name)].filter(Boolean))
    .join(", ");
}

function packageVersion(name) {
  // The benchmark's own version, or else the one that the package is developed with.
  const found = [join(root, "bench"), root]
    .map(folder => join(folder, "node_modules", name, "package.json"))
    .find(file => existsSync(file));
  return JSON.parse(readFileSync(found, "utf8")).version;
}

function engineVersion(name) {
  const [command, flag] = ENGINES[name] ?? [];
  if (command === undefined) return undefined;
  const { stdout } = spawnSync(command, [flag], { encoding: "utf8" });
  return `${command} ${/\d+\.\d+\.\d+/.exec(stdout)?.[0]}`;
}
