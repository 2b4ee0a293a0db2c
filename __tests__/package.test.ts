import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, sep } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { etcdEndpoints } from "./helpers/engines.js";

/*
 * The package as its users get it: packed from `dist` as it is (`npm test` builds it before), unpacked into projects
 * that have nothing else than what the test says, and loaded there by processes of their own.
 */

const run = promisify(execFile);

const root = join(__dirname, "..");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const name: string = manifest.name;
const dependencies = Object.keys(manifest.dependencies ?? {});
const peers = Object.keys(manifest.peerDependencies);
const optionalPeers = Object.keys(manifest.peerDependenciesMeta);
const typePackages = ["@types/express", "@types/express-session", "@types/node"];

/** What each subpath has to export, besides types. */
const exported: Record<string, string[]> = {
  [name]: [
    "AbstractStore",
    "StoreError",
    "UNREADABLE",
    "conditionHolds",
    "createStore",
    "decodeRecord",
    "encodeRecord",
    "isTombstone",
    "recordOf",
    "tombstoneOver",
    "touchHolds",
  ],
  [`${name}/memory`]: ["MemoryStore"],
  [`${name}/file`]: ["FileStore"],
  [`${name}/dynamodb`]: ["DynamoDBStore"],
  [`${name}/etcd`]: ["EtcdStore"],
  [`${name}/migrate`]: [
    "MigratingStore",
    "copy",
    "readAll",
    "readConnectDynamoDB",
    "readConnectMongo",
    "readConnectPgSimple",
    "readConnectRedis",
    "readDynamoDBStore",
    "readMemoryStore",
    "readMemorystore",
    "readSessionFileStore",
  ],
  [`${name}/conformance`]: ["storeConformance"],
};
const subpaths = Object.keys(exported);

let temp: string;
let unpacked: string;
/** Relative to the package, with slashes. */
let files: string[];

/** The dependencies, and not one of the optional peers. */
let bare: string;
/** All peers, their types, and what the examples need. */
let full: string;

beforeAll(async () => {
  temp = await realpath(await mkdtemp(join(tmpdir(), "express-session-stores-test-")));
  // `npm publish --dry-run` runs the tests too, with its options in the environment.
  await run("npm", ["pack", "--ignore-scripts", "--dry-run=false", "--pack-destination", temp], {
    cwd: root,
  });
  const [tarball] = await readdir(temp);
  await run("tar", ["-xzf", tarball as string], { cwd: temp });
  unpacked = join(temp, "package");
  files = await filesIn(unpacked);
  bare = await createProject("bare", []);
  full = await createProject("full", [...optionalPeers, ...typePackages, "express", "prom-client"]);
});
afterAll(() => rm(temp, { recursive: true }));

/** A project with the package, what it cannot do without, and `more` packages. */
async function createProject(title: string, more: string[]): Promise<string> {
  const folder = join(temp, title);
  const modules = join(folder, "node_modules");
  await cp(unpacked, join(modules, name), { recursive: true });
  for (const installed of new Set([...dependencies, "express-session", ...more])) {
    await mkdir(dirname(join(modules, installed)), { recursive: true });
    await symlink(join(root, "node_modules", installed), join(modules, installed));
  }
  return folder;
}

/** Node and TypeScript look for packages in the folders above too, where they would find what is to be missing. */
function assertNothingAbove(): void {
  for (const peer of optionalPeers) {
    for (const modules of createRequire(join(bare, "/")).resolve.paths(peer) ?? []) {
      if (!existsSync(join(modules, peer))) continue;
      throw new Error(`${peer} is in ${modules}: set TMPDIR to a folder that has no packages above it`);
    }
  }
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .map(path => path.split(sep).join("/"))
    .sort();
}

/** Every JavaScript and declaration file of the package, as [path, text]. */
async function sources(ending: string): Promise<[path: string, text: string][]> {
  const paths = files.filter(path => path.endsWith(ending));
  return await Promise.all(
    paths.map(
      async (path): Promise<[string, string]> => [path, await readFile(join(unpacked, path), "utf8")],
    ),
  );
}

/** Runs code in a project, and returns what it prints. It has to end by itself. */
async function node(folder: string, code: string, type: "commonjs" | "module" = "commonjs"): Promise<string> {
  const { stdout } = await run(process.execPath, [`--input-type=${type}`, "--eval", code], {
    cwd: folder,
    timeout: 20_000,
  });
  return stdout;
}

describe("the tarball", () => {
  it("has the build of all of lib, the documents with their images, the licence, and nothing else", async () => {
    const modules = (await filesIn(join(root, "lib"))).map(path => path.replace(/\.ts$/, ""));
    const built = modules.flatMap(path => [`dist/${path}.d.ts`, `dist/${path}.js`]);
    const pages = (await filesIn(join(root, "docs"))).map(path => `docs/${path}`);
    const others = ["CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md", "package.json"];
    const charts = (await filesIn(join(root, "bench/charts"))).map(path => `bench/charts/${path}`);
    const bench = ["bench/README.md", "bench/RESULTS.md", ...charts];
    expect(files).toEqual([...others, ...bench, ...pages, ...built].sort());
  });

  it("has every file that package.json names", () => {
    const targets = Object.values<string | Record<string, string>>(manifest.exports)
      .flatMap(target => (typeof target === "string" ? target : Object.values(target)))
      .concat(manifest.main, manifest.types);
    expect(targets.length).toBeGreaterThan(2 * subpaths.length);
    expect(files).toEqual(expect.arrayContaining(targets.map(target => target.slice("./".length))));
  });

  it("names the declarations of each subpath a second time, for TypeScript that does not know exports", () => {
    const declarations = Object.entries<string | { types: string }>(manifest.exports).flatMap(
      ([path, target]) =>
        typeof target === "string" || path === "." ? [] : [[path.slice("./".length), [target.types]]],
    );
    expect(manifest.typesVersions).toEqual({ "*": Object.fromEntries(declarations) });
  });

  it("has a changelog that begins with its version, or with what is not released yet", async () => {
    const [, first] = (await readFile(join(unpacked, "CHANGELOG.md"), "utf8")).match(/^## \[(.*?)\]/m) ?? [];
    expect(["Unreleased", manifest.version]).toContain(first);
  });

  it("refers to no source maps, prints nothing, and reads no environment variables but those that a URL names", async () => {
    for (const [path, text] of await sources(".js")) {
      expect([path, text.match(/sourceMappingURL|console\./)]).toEqual([path, null]);
      // A program may.
      if (path.startsWith("dist/cli/")) continue;
      // What stands in a comment is an example.
      const code = text.replace(/\/\*.*?\*\//gs, "");
      const variables = path === "dist/create-store/secrets.js" ? ["process.env[name]"] : [];
      expect([path, code.match(/process\.env.{0,6}/g) ?? []]).toEqual([path, variables]);
    }
  });

  it("needs no package that it does not name as a dependency or a peer", async () => {
    const known = new Set([...dependencies, ...peers]);
    const imports = /\b(?:require|import)\("([^"]+)"\)|\bfrom "([^"]+)"/g;
    for (const [path, text] of [...(await sources(".js")), ...(await sources(".d.ts"))]) {
      // What stands in a comment is an example.
      for (const [, required, from] of text.replace(/\/\*.*?\*\//gs, "").matchAll(imports)) {
        const specifier = (required ?? from) as string;
        if (/^(\.|node:)/.test(specifier)) continue;
        expect([path, specifier, known.has(specifier)]).toEqual([path, specifier, true]);
      }
    }
  });
});

describe("with everything installed", () => {
  it("is loaded by require, with the names that each subpath exports", async () => {
    const code = `
      const names = ${JSON.stringify(subpaths)};
      console.log(JSON.stringify(Object.fromEntries(names.map(name => [name, Object.keys(require(name)).sort()]))));`;
    expect(JSON.parse(await node(full, code))).toEqual(exported);
  });

  it("is imported by these names, and is the same as by require", async () => {
    const imports = Object.entries(exported).map(([path, names]) => `import { ${names} } from "${path}";`);
    const checks = Object.entries(exported).map(([path, names]) =>
      names.map(name => `assert.equal(${name}, require("${path}").${name}, "${name}");`),
    );
    const code = `
      import assert from "node:assert/strict";
      import { createRequire } from "node:module";
      ${imports.join("\n")}
      const require = createRequire(process.cwd() + "/");
      ${checks.flat().join("\n")}
      assert.ok(new MemoryStore() instanceof AbstractStore);
      console.log("the same");`;
    expect(await node(full, code, "module")).toBe("the same\n");
  });

  it("does nothing when it is loaded: a process that does only that ends at once", async () => {
    const code = `
      for (const name of ${JSON.stringify(subpaths)}) require(name);
      const loaded = performance.now();
      process.on("exit", () => console.log(performance.now() - loaded));`;
    expect(Number(await node(full, code))).toBeLessThan(5000);
  });

  it("has a program, whose packages nothing else loads", async () => {
    const code = `
      for (const name of ${JSON.stringify(subpaths)}) require(name);
      const loaded = Object.keys(require.cache).filter(path => /commander|cli-progress|dist.cli/.test(path));
      console.log(JSON.stringify(loaded));`;
    expect(await node(full, code)).toBe("[]\n");
    const program = join(full, "node_modules", name, manifest.bin[name]);
    expect((await readFile(program, "utf8")).split("\n")[0]).toBe("#!/usr/bin/env node");
    const { stdout: pinged } = await run(process.execPath, [program, "ping", "--store", "memory:"], {
      cwd: full,
    });
    expect(pinged).toMatch(/^ok, [\d.]+ ms\n$/);
  });

  it("has its package.json to load, and no internal files", async () => {
    const code = `
      const codeOf = path => { try { require("${name}/" + path); } catch (error) { return error.code; } };
      console.log(require("${name}/package.json").version);
      console.log(codeOf("internal/keys"), codeOf("dist/index.js"), codeOf("lib/index.ts"));`;
    const notExported = "ERR_PACKAGE_PATH_NOT_EXPORTED";
    expect(await node(full, code)).toBe(
      `${manifest.version}\n${notExported} ${notExported} ${notExported}\n`,
    );
  });
});

describe("without the optional peers", () => {
  const needy: [subpath: string, needs: string[]][] = [
    ["file", ["lmdb"]],
    ["dynamodb", ["@aws-sdk/client-dynamodb", "@aws-sdk/lib-dynamodb"]],
  ];

  beforeAll(assertNothingAbove);

  it("loads all that needs none of them", async () => {
    const some = subpaths.filter(path => needy.every(([subpath]) => path !== `${name}/${subpath}`));
    expect(some).toHaveLength(subpaths.length - needy.length);
    const required = some.map(path => `require("${path}");`).join("\n");
    expect(await node(bare, `${required}\nconsole.log("loaded")`)).toBe("loaded\n");
    const imported = some.map(path => `import "${path}";`).join("\n");
    expect(await node(bare, `${imported}\nconsole.log("loaded")`, "module")).toBe("loaded\n");
  });

  describe.each(needy)("./%s", (subpath, needs) => {
    it.each(needs)("says how to install %s, by require and by import", async missing => {
      const others = needs.filter(other => other !== missing);
      const project = await createProject(`without-${missing.replace("/", "-")}`, others);
      const path = `${name}/${subpath}`;
      const message = `${path} needs the package ${missing}, which is not installed: npm install ${missing}\n`;
      const required = `try { require("${path}"); } catch (error) { console.log(error.message); }`;
      expect(await node(project, required)).toBe(message);
      const imported = `await import("${path}").catch(error => console.log(error.message));`;
      expect(await node(project, imported, "module")).toBe(message);
    });
  });

  it.each([
    ["file:./sessions.lmdb", "file", "lmdb"],
    ["dynamodb:///sessions", "dynamodb", "@aws-sdk/client-dynamodb"],
    ["etcd://127.0.0.1", "etcd", "etcd3"],
  ])("says what to install for the store of a URL: %s", async (url, subpath, missing) => {
    const code = `
      const { createStore } = require("${name}");
      createStore("memory:");
      try { createStore("${url}"); } catch (error) { console.log(error.message); }`;
    expect(await node(bare, code)).toBe(
      `${name}/${subpath} needs the package ${missing}, which is not installed: npm install ${missing}\n`,
    );
  });

  it("says which package the client is of when the etcd store gets none", async () => {
    const code = `
      const { EtcdStore } = require("${name}/etcd");
      try { new EtcdStore({}); } catch (error) { console.log(error.name, error.message); }`;
    expect(await node(bare, code)).toMatch(
      /^TypeError Expected `client` to be .*package `etcd3` \(npm install etcd3\).*undefined/,
    );
  });

  it("runs its program, which says what to install", async () => {
    const program = join(bare, "node_modules", name, manifest.bin[name]);
    const error = await run(process.execPath, [program, "ping", "--store", "etcd://127.0.0.1"], {
      cwd: bare,
    }).catch(failed => failed);
    expect([error.code, error.stderr]).toEqual([
      1,
      `error: ${name}/etcd needs the package etcd3, which is not installed: npm install etcd3\n  cause: Cannot find module 'etcd3'\n`,
    ]);
  });
});

describe("a process whose store is not closed", () => {
  /** Saves a session and finds it again, in a process that then has to end by itself. */
  async function useOnce(open: string, closeClient = ""): Promise<void> {
    const code = `
      ${open}
      (async () => {
        await store.createTable?.();
        await store.set("sid", { cookie: {}, user: "Ada" });
        console.log((await store.get("sid")).user);
        await store.destroy("sid");
        ${closeClient}
      })();`;
    expect(await node(full, code)).toBe("Ada\n");
  }

  it("ends by itself with the memory store", async () => {
    await useOnce(`const store = new (require("${name}/memory").MemoryStore)();`);
  });

  it("ends by itself with the file store", async () => {
    await useOnce(
      `const store = new (require("${name}/file").FileStore)({ path: "unclosed/sessions.lmdb" });`,
    );
  });

  it("ends with the etcd store as soon as the client is closed", async () => {
    const open = `
      const client = new (require("etcd3").Etcd3)({ hosts: ${JSON.stringify(etcdEndpoints())} });
      const store = new (require("${name}/etcd").EtcdStore)({ client, prefix: "unclosed:" });`;
    await useOnce(open, "client.close();");
  });

  it("ends with the DynamoDB store as soon as the client is destroyed", async () => {
    const open = `
      const client = new (require("@aws-sdk/client-dynamodb").DynamoDBClient)({
        endpoint: process.env.DYNALITE_ENDPOINT,
        region: "us-east-1",
        credentials: { accessKeyId: "local", secretAccessKey: "local" },
      });
      const store = new (require("${name}/dynamodb").DynamoDBStore)({ client, tableName: "unclosed" });`;
    await useOnce(open, "client.destroy();");
  });
});

describe("the small examples", () => {
  let server: ChildProcess;
  afterEach(async () => {
    if (server.kill()) await once(server, "exit");
  });

  /** Starts an example as a user would; returns its address when it listens. */
  async function start(example: string): Promise<string> {
    await cp(join(root, "examples", example), join(full, example), { recursive: true });
    server = spawn(process.execPath, [join(example, "app.js")], {
      cwd: full,
      env: { ...process.env, PORT: "0", DYNAMODB_ENDPOINT: process.env.DYNALITE_ENDPOINT },
    });
    let errors = "";
    server.stderr?.on("data", chunk => {
      errors += chunk;
    });
    for await (const line of createInterface(server.stdout as Readable)) return line;
    throw new Error(errors);
  }

  /** Opens the page of an example twice in one session. */
  async function visitTwice(address: string): Promise<void> {
    const first = await fetch(address);
    expect(await first.text()).toMatch(/^Views: 1\. /);
    const [cookie = ""] = first.headers.getSetCookie();
    const second = await fetch(address, { headers: { cookie: cookie.slice(0, cookie.indexOf(";")) } });
    expect(await second.text()).toMatch(/^Views: 2\. /);
  }

  it.each(["memory", "file", "dynamodb", "etcd"])("count the views of a session: %s", async example => {
    await visitTwice(await start(example));
  });

  it("give Prometheus its figures: metrics", async () => {
    const address = await start("metrics");
    await visitTwice(address);
    const response = await fetch(new URL("/metrics", address));
    expect(response.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
    const figures = await response.text();
    const counted = figures.match(/(?<=^session_store_operation_duration_seconds_count).*/gm);
    expect(counted?.sort()).toEqual([
      '{store="MemoryStore",operation="get",outcome="found"} 1',
      '{store="MemoryStore",operation="set",outcome="written"} 2',
    ]);
  });
});

describe("the declarations", () => {
  const strict = {
    target: "es2022",
    lib: ["es2022"],
    types: ["node"],
    noEmit: true,
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    noPropertyAccessFromIndexSignature: true,
    // Ours and everybody's.
    skipLibCheck: false,
  };

  const useOfAll = `
    import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
    import { Etcd3 } from "etcd3";
    import { AbstractStore, type ConflictEvent, createStore, StoreError, type StoreOptions } from "${name}";
    import { type ConformanceOptions, storeConformance } from "${name}/conformance";
    import { DynamoDBStore, type DynamoDBStoreOptions } from "${name}/dynamodb";
    import { EtcdStore, type EtcdStoreOptions } from "${name}/etcd";
    import { FileStore, type FileStoreOptions } from "${name}/file";
    import { MemoryStore, type MemoryStoreOptions } from "${name}/memory";

    declare module "express-session" {
      interface SessionData { user?: { name: string } }
    }

    const shared: StoreOptions = { prefix: "app:", ttl: session => (session.user ? 3600 : 60) };
    const dynamodb: DynamoDBStoreOptions = { ...shared, client: new DynamoDBClient(), attributes: { id: "pk" } };
    const etcd: EtcdStoreOptions = { ...shared, client: new Etcd3() };
    const file: FileStoreOptions = { ...shared, path: "sessions.lmdb" };
    const memory: MemoryStoreOptions = { ...shared, max: 1000 };
    const stores: AbstractStore[] = [
      new DynamoDBStore(dynamodb), new EtcdStore(etcd), new FileStore(file), new MemoryStore(memory),
      createStore(process.env["SESSION_STORE"], shared),
    ];
    export const handlers = stores.map(store => session({ store, secret: "secret" }));

    export async function nameOf(store: AbstractStore, sid: string): Promise<string | undefined> {
      store.on("conflict", ({ reason, keys }: ConflictEvent) => [reason, keys.length]);
      try {
        for await (const [id, { user }] of store.entries()) if (id === sid) return user?.name;
        return (await store.get(sid, { signal: AbortSignal.timeout(100) }))?.user?.name;
      } catch (error) {
        return error instanceof StoreError ? error.code : undefined;
      }
    }

    export function define(options: Pick<ConformanceOptions, "describe" | "it">): void {
      storeConformance({ ...options, createStore: shared => new MemoryStore(shared) });
    }`;

  const useOfSome = `
    import { AbstractStore } from "${name}";
    import { storeConformance } from "${name}/conformance";
    import { FileStore } from "${name}/file";
    import { MemoryStore } from "${name}/memory";
    export const stores: AbstractStore[] = [new MemoryStore(), new FileStore({ path: "sessions.lmdb" })];
    export const handlers = stores.map(store => session({ store, secret: "secret" }));
    export { storeConformance };`;

  const importsOfSession = {
    cts: 'import session = require("express-session");',
    mts: 'import session from "express-session";',
  };

  /** Compiles a program as a CommonJS module, as an ES module, or both; returns what the compiler says. */
  async function compile(
    project: string,
    program: string,
    options: object,
    kinds: (keyof typeof importsOfSession)[] = ["cts", "mts"],
    compiler = join(root, "node_modules/typescript/bin/tsc"),
  ): Promise<string> {
    const folder = await mkdtemp(join(project, "consumer-"));
    for (const kind of kinds) {
      await writeFile(join(folder, `index.${kind}`), `${importsOfSession[kind]}\n${program}`);
    }
    const config = { compilerOptions: { ...strict, ...options }, files: kinds.map(kind => `index.${kind}`) };
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify(config));
    return await run(process.execPath, [compiler, "-p", "."], { cwd: folder }).then(
      ({ stdout }) => stdout,
      ({ stdout }) => stdout,
    );
  }

  it.each(["node16", "nodenext"])(
    "compile from CommonJS and from ES modules with module %s",
    async module => {
      expect(await compile(full, useOfAll, { module })).toBe("");
    },
  );

  it("compile for bundlers", async () => {
    expect(await compile(full, useOfAll, { module: "esnext", moduleResolution: "bundler" }, ["mts"])).toBe(
      "",
    );
  });

  it("compile with moduleResolution node10, which the compiler of this test does not know any more", async () => {
    // The one that checks the package in `npm run check`.
    const cli = createRequire(require.resolve("@arethetypeswrong/cli/package.json"));
    const compiler = createRequire(cli.resolve("@arethetypeswrong/core")).resolve("typescript/bin/tsc");
    // Not checked: declarations of packages that do not know node10 themselves.
    const options = { module: "commonjs", moduleResolution: "node10", skipLibCheck: true };
    expect(await compile(full, useOfAll, options, ["cts"], compiler)).toBe("");
    const mistake = `
      import { MemoryStore } from "${name}/memory";
      session({ store: new MemoryStore({ maximum: 1000 }), secret: "secret" });`;
    expect(await compile(full, mistake, options, ["cts"], compiler)).toMatch(/TS2353: .*'maximum'/);
  });

  it("do not need the optional peers of stores that are not used, nor lmdb for the file store", async () => {
    assertNothingAbove();
    const project = await createProject("some", typePackages);
    expect(await compile(project, useOfSome, { module: "nodenext" })).toBe("");
  });

  it("are looked at: a wrong option does not compile", async () => {
    const mistake = `
      import { MemoryStore } from "${name}/memory";
      session({ store: new MemoryStore({ maximum: 1000 }), secret: "secret" });`;
    expect(await compile(full, mistake, { module: "nodenext" })).toMatch(/TS2353: .*'maximum'/);
  });

  it("do not need esModuleInterop, which the compiler of this test cannot switch off any more", async () => {
    for (const [path, text] of await sources(".d.ts")) {
      // A default import of a CommonJS module is what would need it.
      expect([path, text.match(/^import (type )?[\w$]+( from|,)/m)]).toEqual([path, null]);
    }
  });
});
