import { mkdtemp, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { name, root, run, typePackages, usePackage } from "../helpers/package/packed.js";

const packed = usePackage();

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
    // Checks our declarations and those of all packages.
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

  /** Compiles a program as a CommonJS module, as an ES module, or both. Returns the compiler's messages. */
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
      expect(await compile(packed.full, useOfAll, { module })).toBe("");
    },
  );

  it("compile for bundlers", async () => {
    expect(
      await compile(packed.full, useOfAll, { module: "esnext", moduleResolution: "bundler" }, ["mts"]),
    ).toBe("");
  });

  it("compile with moduleResolution node10, which the compiler of this test does not know any more", async () => {
    // The version that checks the package in `npm run check`.
    const cli = createRequire(require.resolve("@arethetypeswrong/cli/package.json"));
    const compiler = createRequire(cli.resolve("@arethetypeswrong/core")).resolve("typescript/bin/tsc");
    // Not checked: declarations of packages that do not support node10 themselves.
    const options = { module: "commonjs", moduleResolution: "node10", skipLibCheck: true };
    expect(await compile(packed.full, useOfAll, options, ["cts"], compiler)).toBe("");
    const mistake = `
      import { MemoryStore } from "${name}/memory";
      session({ store: new MemoryStore({ maximum: 1000 }), secret: "secret" });`;
    expect(await compile(packed.full, mistake, options, ["cts"], compiler)).toMatch(/TS2353: .*'maximum'/);
  });

  it("do not need the optional peers of stores that are not used, nor lmdb for the file store", async () => {
    packed.assertNothingAbove();
    const project = await packed.createProject("some", typePackages);
    expect(await compile(project, useOfSome, { module: "nodenext" })).toBe("");
  });

  it("are looked at: a wrong option does not compile", async () => {
    const mistake = `
      import { MemoryStore } from "${name}/memory";
      session({ store: new MemoryStore({ maximum: 1000 }), secret: "secret" });`;
    expect(await compile(packed.full, mistake, { module: "nodenext" })).toMatch(/TS2353: .*'maximum'/);
  });

  it("do not need esModuleInterop, which the compiler of this test cannot switch off any more", async () => {
    for (const [path, text] of await packed.sources(".d.ts")) {
      // A default import of a CommonJS module would require it.
      expect([path, text.match(/^import (type )?[\w$]+( from|,)/m)]).toEqual([path, null]);
    }
  });
});
