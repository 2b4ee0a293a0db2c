import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { access, copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect, promisify } from "node:util";
import { Etcd3, Range } from "etcd3";
import { plain } from "../../lib/conformance/sessions.js";
import { DynamoDBStore } from "../../lib/dynamodb.js";
import { EtcdStore } from "../../lib/etcd.js";
import { type AbstractStore, createStore } from "../../lib/index.js";
import {
  dynaliteClient,
  etcdClient,
  etcdEndpoints,
  freePorts,
  type OwnEtcd,
  startEtcd,
} from "../helpers/engines/engines.js";

/* The clients that `createStore` creates, on real engines. Separate processes load the built package. */

const run = promisify(execFile);
const dist = join(__dirname, "../../dist/index.js");
const credentials = { AWS_ACCESS_KEY_ID: "local", AWS_SECRET_ACCESS_KEY: "local" };

const etcdUrl = () =>
  `etcd://${etcdEndpoints()
    .map(endpoint => endpoint.replace("http://", ""))
    .join(",")}`;
const dynamodbUrl = (variable: string, table: string) =>
  `dynamodb://us-east-1/${table}?endpoint=${process.env[variable]}`;

beforeAll(() => Object.assign(process.env, credentials));
afterAll(() => {
  for (const name of Object.keys(credentials)) delete process.env[name];
});

const stores: AbstractStore[] = [];
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
});

function open(url: string): AbstractStore {
  const store = createStore(url);
  stores.push(store);
  return store;
}

const isUp = (store: AbstractStore) =>
  store.ping().then(
    () => true,
    () => false,
  );

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

/** Runs code in a separate process that has to end by itself. Returns its output. */
async function node(code: string, url: string): Promise<string> {
  const setUp = `const { createStore } = require(${JSON.stringify(dist)}); const url = process.argv[1];`;
  const options = { timeout: 20_000, env: { ...process.env, NODE_NO_WARNINGS: "1" } };
  return (await run(process.execPath, ["--eval", `${setUp}\n${code}`, "--", url], options)).stdout;
}

describe("a process", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "express-session-stores-test-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const optional = ["@aws-sdk/client-dynamodb", "@aws-sdk/lib-dynamodb", "etcd3", "lmdb"];

  it.each([
    ["memory:", ["memory"], []],
    ["file:./sessions.lmdb", ["file"], ["lmdb"]],
    ["dynamodb:///sessions", ["dynamodb"], ["@aws-sdk/client-dynamodb", "@aws-sdk/lib-dynamodb"]],
    ["etcds://127.0.0.1?ca=ca.crt", ["etcd"], ["etcd3"]],
  ])("loads the modules and the client of its store alone: %s", async (url, backends, packages) => {
    const code = `
      const loaded = () => Object.keys(require.cache);
      const before = loaded();
      createStore(url);
      console.log(JSON.stringify({ before, after: loaded() }));`;
    const { before, after } = JSON.parse(await node(code, url)) as Record<"before" | "after", string[]>;
    const backendsIn = (paths: string[]) =>
      ["memory", "file", "dynamodb", "etcd"].filter(name => paths.includes(join(dist, `../${name}.js`)));
    const packagesIn = (paths: string[]) =>
      optional.filter(name => paths.some(path => path.includes(`/node_modules/${name}/`)));
    expect([backendsIn(before), packagesIn(before)]).toEqual([[], []]);
    expect([backendsIn(after), packagesIn(after)]).toEqual([backends, packages]);
  });

  const useOnce = `
    const store = createStore(url);
    (async () => {
      await store.createTable?.();
      const saved = store.set("sid", { cookie: {}, user: "Ada" });
      // Waits for the save, then closes the client.
      await store.close();
      await saved;
      console.log("saved");
    })();`;

  it.each([
    ["memory", async () => "memory:"],
    ["file", async () => `file:${join(folder, "sessions.lmdb")}`],
    ["dynalite", async () => dynamodbUrl("DYNALITE_ENDPOINT", `closed-${randomUUID()}`)],
    ["DynamoDB Local", async () => dynamodbUrl("DYNAMODB_ENDPOINT", `closed-${randomUUID()}`)],
    ["etcd", async () => `${etcdUrl()}/${randomUUID()}:`],
  ])(
    "ends by itself when the store is closed, and has saved what was under way: %s",
    async (_name, urlOf) => {
      expect(await node(useOnce, await urlOf())).toBe("saved\n");
    },
  );

  it("connects to nothing before the first call", async () => {
    const code = `
      const { Socket } = require("node:net");
      Socket.prototype.connect = () => { throw new Error("connected"); };
      const store = createStore(url);
      setTimeout(() => store.close().then(() => console.log("closed")), 100);`;
    for (const url of [
      "dynamodb://local/sessions?endpoint=http://127.0.0.1:1",
      "etcds://u:p@127.0.0.1:1?ca=none.crt",
    ]) {
      expect(await node(code, url)).toBe("closed\n");
    }
  });
});

it.each(["DYNALITE_ENDPOINT", "DYNAMODB_ENDPOINT"])(
  "a store keeps sessions in the table of its URL: %s",
  async variable => {
    const table = `test-${randomUUID()}`;
    const store = open(`${dynamodbUrl(variable, table)}&compression=deflate&prefix=shop:`) as DynamoDBStore;
    await expect(store.ping()).rejects.toMatchObject({ code: "ERR_STORE_TABLE_MISSING" });
    await store.createTable();
    await store.set("sid", plain({ views: 1 }));
    expect(await open(`${dynamodbUrl(variable, table)}&prefix=shop:`).get("sid")).toMatchObject({ views: 1 });
    expect(await open(dynamodbUrl(variable, table)).get("sid")).toBeNull();
  },
);

it("a store leaves clients open that others have made", async () => {
  const [dynamodb, etcd] = [dynaliteClient(), etcdClient()];
  const prefix = `${randomUUID()}:`;
  try {
    const store = new DynamoDBStore({ client: dynamodb, tableName: `test-${randomUUID()}` });
    await store.createTable();
    await store.close();
    await expect(
      new DynamoDBStore({ client: dynamodb, tableName: store.tableName }).ping(),
    ).resolves.toBeUndefined();
    await new EtcdStore({ client: etcd, prefix }).close();
    await expect(new EtcdStore({ client: etcd, prefix }).ping()).resolves.toBeUndefined();
  } finally {
    dynamodb.destroy();
    etcd.close();
  }
});

describe("etcd", () => {
  it("keeps sessions under the prefix of the URL, also if one of its hosts is down", async () => {
    const prefix = `${randomUUID()}:`;
    const store = open(`${etcdUrl().replace("//", "//127.0.0.1:1,")}/${prefix}`);
    await store.set("sid", plain({ views: 1 }));
    const client = etcdClient();
    expect(await new EtcdStore({ client, prefix }).get("sid")).toMatchObject({ views: 1 });
    client.close();
    await store.clear();
  });

  describe("with users", () => {
    const password = "p@ss/wo:rd?#%,&= 1";
    let etcd: OwnEtcd;
    let host: string;
    beforeAll(async () => {
      etcd = await startEtcd();
      host = etcd.endpoint.replace("http://", "");
      const client = new Etcd3({ hosts: etcd.endpoint });
      await (await client.user("root").create("root")).addRole(await client.role("root").create());
      const role = await client.role("sessions").create();
      await role.grant({ permission: "Readwrite", range: Range.prefix("shop:") });
      await (await client.user("sho:p").create(password)).addRole(role);
      await client.auth.authEnable();
      client.close();
    });
    afterAll(() => etcd.stop());

    it("signs in with the user and the password of the URL", async () => {
      const store = open(`etcd://sho%3Ap:${encodeURIComponent(password)}@${host}/shop:`);
      await store.set("sid", plain({ views: 1 }));
      expect(await store.get("sid")).toMatchObject({ views: 1 });
      process.env.TEST_ETCD_PASSWORD = password;
      const other = open(`etcd://sho%3Ap@127.0.0.1:1,${host}/shop:?password=env:TEST_ETCD_PASSWORD`);
      delete process.env.TEST_ETCD_PASSWORD;
      expect(await other.get("sid")).toMatchObject({ views: 1 });
    });

    it("says that it cannot sign in, without the password", async () => {
      const error = await open(`etcd://sho%3Ap:wrong-s3Cr3T@${host}/shop:`)
        .get("sid")
        .catch(error => error);
      expect(error).toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
      expect(inspect(error.cause)).toContain("authentication failed");
      expect(inspect(error, { depth: 9, showHidden: true })).not.toContain("s3Cr3T");
      await expect(open(`etcd://${host}/shop:`).get("sid")).rejects.toMatchObject({
        code: "ERR_STORE_UNAVAILABLE",
      });
    });
  });

  describe("over TLS", () => {
    let folder: string;
    let etcd: ChildProcess;
    let url: string;
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "express-session-stores-test-"));
      const [clientPort, peerPort] = await freePorts(2);
      // A host name, because the gRPC client of etcd3 reaches no IP address over TLS on Node.js 26.
      const [client, peer] = [`https://localhost:${clientPort}`, `http://127.0.0.1:${peerPort}`];
      const env = Object.fromEntries(
        Object.entries(process.env).filter(([name]) => !name.startsWith("ETCD_")),
      );
      if (process.arch === "arm64") env.ETCD_UNSUPPORTED_ARCH = "arm64";
      etcd = spawn(
        "etcd",
        [
          ["--auto-tls", "--data-dir", folder, "--log-level", "error"],
          ["--listen-client-urls", client, "--advertise-client-urls", client],
          ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
          ["--initial-cluster", `default=${peer}`],
        ].flat(),
        { stdio: "ignore", env },
      );
      url = `etcds://localhost:${clientPort}/shop:`;
    });
    afterAll(async () => {
      etcd.kill("SIGKILL");
      if (etcd.exitCode === null && etcd.signalCode === null) await once(etcd, "exit");
      await rm(folder, { recursive: true });
    });

    it("reads the certificates when it is first used, and again if they could not be read", async () => {
      const copy = join(folder, "copy.pem");
      const store = open(`${url}?ca=${copy}&cert=${copy}&key=${folder}/fixtures/client/key.pem`);
      await expect(store.ping()).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
      // etcd creates the key when it starts.
      while (!(await exists(`${folder}/fixtures/client/key.pem`))) await sleep(50);
      await copyFile(`${folder}/fixtures/client/cert.pem`, copy);
      while (!(await isUp(store))) await sleep(100);
      await store.set("sid", plain({ views: 1 }));
      expect(await store.get("sid")).toMatchObject({ views: 1 });
    });

    it("says which file it cannot read, and trusts no other certificate", async () => {
      const missing = await open(`${url}?ca=./none.crt`)
        .get("sid")
        .catch(error => error);
      expect(missing).toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
      expect(missing.cause.message).toBe("The file that the parameter `ca` names cannot be read");
      expect(missing.cause.cause).toMatchObject({ code: "ENOENT" });
      await expect(open(`${url}?timeoutMs=1500`).get("sid")).rejects.toThrow();
    });
  });
});
