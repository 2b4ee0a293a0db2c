import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { etcdEndpoints } from "../helpers/engines/engines.js";
import { dependencies, filesIn, manifest, name, root, run, usePackage } from "../helpers/package/packed.js";

const peers = Object.keys(manifest.peerDependencies);

/** The required exports of each subpath, besides types. */
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

const packed = usePackage();

/** Runs code in a project that has to end by itself. Returns its output. */
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
    expect(packed.files).toEqual([...others, ...bench, ...pages, ...built].sort());
  });

  it("has every file that package.json names", () => {
    const targets = Object.values<string | Record<string, string>>(manifest.exports)
      .flatMap(target => (typeof target === "string" ? target : Object.values(target)))
      .concat(manifest.main, manifest.types);
    expect(targets.length).toBeGreaterThan(2 * subpaths.length);
    expect(packed.files).toEqual(expect.arrayContaining(targets.map(target => target.slice("./".length))));
  });

  it("names the declarations of each subpath a second time, for TypeScript that does not know exports", () => {
    const declarations = Object.entries<string | { types: string }>(manifest.exports).flatMap(
      ([path, target]) =>
        typeof target === "string" || path === "." ? [] : [[path.slice("./".length), [target.types]]],
    );
    expect(manifest.typesVersions).toEqual({ "*": Object.fromEntries(declarations) });
  });

  it("has a changelog that begins with its version, or with what is not released yet", async () => {
    const [, first] = (await packed.read("CHANGELOG.md")).match(/^## \[(.*?)\]/m) ?? [];
    expect(["Unreleased", manifest.version]).toContain(first);
  });

  it("refers to no source maps, prints nothing, and reads no environment variables but those that a URL names", async () => {
    for (const [path, text] of await packed.sources(".js")) {
      expect([path, text.match(/sourceMappingURL|console\./)]).toEqual([path, null]);
      // A program may print.
      if (path.startsWith("dist/cli/")) continue;
      // Code in a comment is an example.
      const code = text.replace(/\/\*.*?\*\//gs, "");
      const variables = path === "dist/create-store/secrets.js" ? ["process.env[name]"] : [];
      expect([path, code.match(/process\.env.{0,6}/g) ?? []]).toEqual([path, variables]);
    }
  });

  it("needs no package that it does not name as a dependency or a peer", async () => {
    const known = new Set([...dependencies, ...peers]);
    const imports = /\b(?:require|import)\("([^"]+)"\)|\bfrom "([^"]+)"/g;
    for (const [path, text] of [...(await packed.sources(".js")), ...(await packed.sources(".d.ts"))]) {
      // Code in a comment is an example.
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
    expect(JSON.parse(await node(packed.full, code))).toEqual(exported);
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
    expect(await node(packed.full, code, "module")).toBe("the same\n");
  });

  it("does nothing when it is loaded: a process that does only that ends at once", async () => {
    const code = `
      for (const name of ${JSON.stringify(subpaths)}) require(name);
      const loaded = performance.now();
      process.on("exit", () => console.log(performance.now() - loaded));`;
    expect(Number(await node(packed.full, code))).toBeLessThan(5000);
  });

  it("has a program, whose packages nothing else loads", async () => {
    const code = `
      for (const name of ${JSON.stringify(subpaths)}) require(name);
      const loaded = Object.keys(require.cache).filter(path => /commander|cli-progress|dist.cli/.test(path));
      console.log(JSON.stringify(loaded));`;
    expect(await node(packed.full, code)).toBe("[]\n");
    const program = join(packed.full, "node_modules", name, manifest.bin[name]);
    expect((await readFile(program, "utf8")).split("\n")[0]).toBe("#!/usr/bin/env node");
    const { stdout: pinged } = await run(process.execPath, [program, "ping", "--store", "memory:"], {
      cwd: packed.full,
    });
    expect(pinged).toMatch(/^ok, [\d.]+ ms\n$/);
  });

  it("has its package.json to load, and no internal files", async () => {
    const code = `
      const codeOf = path => { try { require("${name}/" + path); } catch (error) { return error.code; } };
      console.log(require("${name}/package.json").version);
      console.log(codeOf("internal/keys"), codeOf("dist/index.js"), codeOf("lib/index.ts"));`;
    const notExported = "ERR_PACKAGE_PATH_NOT_EXPORTED";
    expect(await node(packed.full, code)).toBe(
      `${manifest.version}\n${notExported} ${notExported} ${notExported}\n`,
    );
  });
});

describe("without the optional peers", () => {
  const needy: [subpath: string, needs: string[]][] = [
    ["file", ["lmdb"]],
    ["dynamodb", ["@aws-sdk/client-dynamodb", "@aws-sdk/lib-dynamodb"]],
  ];

  beforeAll(() => packed.assertNothingAbove());

  it("loads all that needs none of them", async () => {
    const some = subpaths.filter(path => needy.every(([subpath]) => path !== `${name}/${subpath}`));
    expect(some).toHaveLength(subpaths.length - needy.length);
    const required = some.map(path => `require("${path}");`).join("\n");
    expect(await node(packed.bare, `${required}\nconsole.log("loaded")`)).toBe("loaded\n");
    const imported = some.map(path => `import "${path}";`).join("\n");
    expect(await node(packed.bare, `${imported}\nconsole.log("loaded")`, "module")).toBe("loaded\n");
  });

  describe.each(needy)("./%s", (subpath, needs) => {
    it.each(needs)("says how to install %s, by require and by import", async missing => {
      const others = needs.filter(other => other !== missing);
      const project = await packed.createProject(`without-${missing.replace("/", "-")}`, others);
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
    expect(await node(packed.bare, code)).toBe(
      `${name}/${subpath} needs the package ${missing}, which is not installed: npm install ${missing}\n`,
    );
  });

  it("says which package the client is of when the etcd store gets none", async () => {
    const code = `
      const { EtcdStore } = require("${name}/etcd");
      try { new EtcdStore({}); } catch (error) { console.log(error.name, error.message); }`;
    expect(await node(packed.bare, code)).toMatch(
      /^TypeError Expected `client` to be .*package `etcd3` \(npm install etcd3\).*got nothing/,
    );
  });

  it("runs its program, which says what to install", async () => {
    const program = join(packed.bare, "node_modules", name, manifest.bin[name]);
    const error = await run(process.execPath, [program, "ping", "--store", "etcd://127.0.0.1"], {
      cwd: packed.bare,
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
    expect(await node(packed.full, code)).toBe("Ada\n");
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

  /** Starts an example like a user. Returns its address when it listens. */
  async function start(example: string): Promise<string> {
    await cp(join(root, "examples", example), join(packed.full, example), { recursive: true });
    server = spawn(process.execPath, [join(example, "app.js")], {
      cwd: packed.full,
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
