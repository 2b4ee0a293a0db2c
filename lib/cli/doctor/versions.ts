import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { type Check, ok, problem, unknown, warning } from "./check.js";

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly engines: { readonly node: string };
  readonly peerDependencies: Readonly<Record<string, string>>;
}

/** The versions of Node.js, this package and the clients that a store uses. */
export function* checkVersions(clients: readonly string[]): Generator<Check> {
  const own = require("../../../package.json") as Manifest;
  yield ok("package", `${own.name} ${own.version}`);
  const { node } = process.versions;
  const wanted = own.engines.node;
  yield isAtLeast(node, wanted)
    ? ok("node", `Node.js ${node}`)
    : problem("node", `Node.js ${node}`, `Install Node.js ${wanted}.`);
  for (const name of ["express-session", ...clients]) {
    const version = versionOf(name);
    const range = own.peerDependencies[name] as string;
    if (version === undefined) yield unknown(name, "its version cannot be found");
    else if (isIn(version, range)) yield ok(name, version);
    else yield warning(name, version, `This package was tested with ${range}: npm install ${name}@${range}`);
  }
}

/** Most packages do not export their package.json. */
function versionOf(name: string): string | undefined {
  try {
    let folder = dirname(createRequire(__filename).resolve(name));
    for (; folder !== dirname(folder); folder = dirname(folder)) {
      const manifest = manifestIn(folder);
      if (manifest?.name === name) return manifest.version;
    }
  } catch {
    // It is not installed where this package finds it.
  }
  return undefined;
}

function manifestIn(folder: string): Manifest | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  } catch {
    return undefined;
  }
}

/** @param range - such as `^1.2.3` */
function isIn(version: string, range: string): boolean {
  return numbersOf(version)[0] === numbersOf(range)[0] && isAtLeast(version, range);
}

function isAtLeast(version: string, least: string): boolean {
  const [have, want] = [numbersOf(version), numbersOf(least)];
  const at = want.findIndex((number, index) => (have[index] ?? 0) !== number);
  return at < 0 || (have[at] ?? 0) > (want[at] as number);
}

function numbersOf(version: string): number[] {
  return (version.match(/\d+(\.\d+)*/)?.[0] ?? "").split(".").map(Number);
}
