import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, sep } from "node:path";
import { promisify } from "node:util";

export const run = promisify(execFile);

export const root = join(__dirname, "../../..");
export const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
export const name: string = manifest.name;
export const dependencies = Object.keys(manifest.dependencies ?? {});
const optionalPeers = Object.keys(manifest.peerDependenciesMeta);
export const typePackages = ["@types/express", "@types/express-session", "@types/node"];

/**
 * The package as its users get it. It is packed from the existing `dist`, which `npm test` builds first. Then it is
 * unpacked into projects that contain nothing except what the test names.
 */
class PackedPackage {
  #folder = "";
  #unpacked = "";
  /** Relative to the package, with slashes. */
  files: string[] = [];
  /** A project with the dependencies, but without optional peers. */
  bare = "";
  /** A project with all peers, their types, and the packages that the examples need. */
  full = "";

  async create(): Promise<void> {
    this.#folder = await realpath(await mkdtemp(join(tmpdir(), "express-session-stores-test-")));
    // `npm publish --dry-run` also runs the tests, with its options in the environment.
    await run("npm", ["pack", "--ignore-scripts", "--dry-run=false", "--pack-destination", this.#folder], {
      cwd: root,
    });
    const [tarball] = await readdir(this.#folder);
    await run("tar", ["-xzf", tarball as string], { cwd: this.#folder });
    this.#unpacked = join(this.#folder, "package");
    this.files = await filesIn(this.#unpacked);
    this.bare = await this.createProject("bare", []);
    this.full = await this.createProject("full", [
      ...optionalPeers,
      ...typePackages,
      "express",
      "prom-client",
    ]);
  }

  async remove(): Promise<void> {
    await rm(this.#folder, { recursive: true });
  }

  async read(path: string): Promise<string> {
    return await readFile(join(this.#unpacked, path), "utf8");
  }

  /** Creates a project with the package, its required dependencies, and `more` packages. */
  async createProject(title: string, more: string[]): Promise<string> {
    const folder = join(this.#folder, title);
    const modules = join(folder, "node_modules");
    await cp(this.#unpacked, join(modules, name), { recursive: true });
    for (const installed of new Set([...dependencies, "express-session", ...more])) {
      await mkdir(dirname(join(modules, installed)), { recursive: true });
      await symlink(join(root, "node_modules", installed), join(modules, installed));
    }
    return folder;
  }

  /**
   * Node.js and TypeScript also look for packages in parent folders, where they would find packages that must be
   * missing.
   */
  assertNothingAbove(): void {
    for (const peer of optionalPeers) {
      for (const modules of createRequire(join(this.bare, "/")).resolve.paths(peer) ?? []) {
        if (!existsSync(join(modules, peer))) continue;
        throw new Error(`${peer} is in ${modules}: set TMPDIR to a folder that has no packages above it`);
      }
    }
  }

  /** Every JavaScript and declaration file of the package, as [path, text]. */
  async sources(ending: string): Promise<[path: string, text: string][]> {
    const paths = this.files.filter(path => path.endsWith(ending));
    return await Promise.all(
      paths.map(async (path): Promise<[string, string]> => [path, await this.read(path)]),
    );
  }
}

/** The package, which is packed before the tests and deleted after them. */
export function usePackage(): PackedPackage {
  const packed = new PackedPackage();
  beforeAll(() => packed.create());
  afterAll(() => packed.remove());
  return packed;
}

export async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .map(path => path.split(sep).join("/"))
    .sort();
}
