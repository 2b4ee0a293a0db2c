import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import fc from "fast-check";
import { plain } from "../../lib/conformance/sessions.js";
import { DynamoDBStore } from "../../lib/dynamodb.js";
import { EtcdStore } from "../../lib/etcd.js";
import { FileStore } from "../../lib/file.js";
import { AbstractStore, createStore, type StoreOptions } from "../../lib/index.js";
import { MemoryStore } from "../../lib/memory.js";

const KEY = randomBytes(32).toString("base64");
const OLDER_KEY = randomBytes(32).toString("base64url");
const variables = { TEST_KEY: KEY, TEST_KEYS: `${KEY}, ${OLDER_KEY}`, TEST_SECRET: "s3cret", TEST_EMPTY: "" };

beforeAll(() => Object.assign(process.env, variables));
afterAll(() => {
  for (const name of Object.keys(variables)) delete process.env[name];
});

/** Returns the options that the constructor of a store receives for a URL. */
function optionsOf(url: string, options?: StoreOptions): Record<string, unknown> {
  let received: Record<string, unknown> = {};
  class Receiver {
    constructor(given: Record<string, unknown>) {
      received = given;
    }
  }
  const mocks = {
    "../../lib/memory.js": { MemoryStore: Receiver },
    "../../lib/file.js": { FileStore: Receiver },
    "../../lib/dynamodb.js": { DynamoDBStore: Receiver },
    "../../lib/etcd.js": { EtcdStore: Receiver },
    "../../lib/create-store/etcd-client.js": {
      LazyEtcdClient: class {
        constructor(readonly connection: unknown) {}
      },
    },
  };
  for (const [path, mock] of Object.entries(mocks)) jest.doMock(path, () => mock);
  jest.isolateModules(() => {
    require("../../lib/create-store.js").createStore(url, options);
  });
  for (const path of Object.keys(mocks)) jest.dontMock(path);
  return received;
}

function errorOf(url: unknown, options?: unknown): Error {
  try {
    createStore(url as string, options as StoreOptions);
  } catch (error) {
    return error as Error;
  }
  throw new Error("It is accepted");
}

describe("the store of a URL", () => {
  it.each([
    ["memory:", MemoryStore],
    ["MEMORY:", MemoryStore],
    ["memory://?max=5&", MemoryStore],
    ["file:./data/sessions.lmdb", FileStore],
    ["dynamodb:///", DynamoDBStore],
    ["dynamodb://eu-west-1", DynamoDBStore],
    ["etcd://127.0.0.1", EtcdStore],
    ["etcds://etcd-0,etcd-1:2379/", EtcdStore],
  ])("is of the class that the scheme names: %s", async (url, Store) => {
    const store = createStore(url);
    expect(store).toBeInstanceOf(Store);
    expect(store).toBeInstanceOf(AbstractStore);
    expect(store.constructor.name).toBe(Store.name);
    expect(store.prefix).toBe("sess:");
    await store.close();
    await expect(store.get("sid")).rejects.toMatchObject({ code: "ERR_STORE_CLOSED" });
  });

  it.each([
    ["file:data/sessions.lmdb", "data/sessions.lmdb"],
    ["file:./data/sessions.lmdb", "./data/sessions.lmdb"],
    ["file:../sessions.lmdb?ttl=60", "../sessions.lmdb"],
    ["file:/var/lib/sessions.lmdb", "/var/lib/sessions.lmdb"],
    ["file:///var/lib/sessions.lmdb", "/var/lib/sessions.lmdb"],
    ["file:./my data/a%20b%23%3F%25.lmdb", "./my data/a b#?%.lmdb"],
    ["file:./a@b:c+d,e.lmdb", "./a@b:c+d,e.lmdb"],
    ["file:./%C3%A4.lmdb", "./ä.lmdb"],
  ])("names a file: %s", (url, path) => {
    expect((createStore(url) as FileStore).path).toBe(path);
  });

  it.each([
    ["dynamodb://eu-west-1/visits", "eu-west-1", "visits"],
    ["dynamodb://us-gov-east-1/visits.v2", "us-gov-east-1", "visits.v2"],
    ["dynamodb://eu-west-1/", "eu-west-1", undefined],
    ["dynamodb:///visits", "of-the-environment", "visits"],
    [
      "dynamodb://eu-west-1/arn:aws:dynamodb:eu-west-1:123456789012:table/visits",
      "eu-west-1",
      "arn:aws:dynamodb:eu-west-1:123456789012:table/visits",
    ],
  ])("names a region and a table: %s", async (url, region, tableName) => {
    process.env.AWS_REGION = "of-the-environment";
    const options = optionsOf(url) as { client: { config: { region(): Promise<string> } } };
    await expect(options.client.config.region()).resolves.toBe(region);
    delete process.env.AWS_REGION;
    expect({ ...options, client: undefined }).toEqual({ client: undefined, ...(tableName && { tableName }) });
  });

  it("names the endpoint of DynamoDB", async () => {
    const { client } = optionsOf("dynamodb://local/visits?endpoint=http://127.0.0.1:8000") as {
      client: { config: { endpoint(): Promise<object> } };
    };
    await expect(client.config.endpoint()).resolves.toMatchObject({ hostname: "127.0.0.1", port: 8000 });
  });

  const auth = { username: "u:ser", password: "p@s/s:w?#%,+" };
  it.each([
    ["etcd://etcd", ["http://etcd:2379"], {}],
    [
      "etcd://etcd_1.local:1,[::1],[2001:db8::3]:65535",
      ["etcd_1.local:1", "[::1]:2379", "[2001:db8::3]:65535"],
      {},
    ],
    ["etcd://u%3Aser:p%40s%2Fs:w%3F%23%25,+@h1,h2:2380", ["h1:2379", "h2:2380"], { auth }],
    [
      "etcds://u:p@h1/shop:",
      ["https://h1:2379"],
      { prefix: "shop:", auth: { username: "u", password: "p" } },
    ],
    ["etcd://u@h1?password=env:TEST_SECRET", ["h1:2379"], { auth: { username: "u", password: "s3cret" } }],
    ["etcd://h1//app/sessions/", ["h1:2379"], { prefix: "/app/sessions/" }],
    ["etcd://h1/a%2Fb%40", ["h1:2379"], { prefix: "a/b@" }],
    [
      "etcds://h1?ca=./my ca.crt&cert=/etc/a%26b.crt&key=k.pem",
      ["https://h1:2379"],
      { files: { ca: "./my ca.crt", cert: "/etc/a&b.crt", key: "k.pem" } },
    ],
  ])("names the members of etcd: %s", (url, hosts, { prefix, ...more }: Record<string, unknown>) => {
    const { client, ...options } = optionsOf(url) as { client: { connection: object } };
    expect(options).toEqual(prefix === undefined ? {} : { prefix });
    expect(client.connection).toEqual({
      auth: undefined,
      files: {},
      ...more,
      hosts: hosts.map(host => (host.includes("//") ? host : `http://${host}`)),
    });
  });
});

describe("the options of a URL", () => {
  const shared: [parameter: string, value: unknown][] = [
    ["prefix=a%20b:", "a b:"],
    ["prefix=", ""],
    ["ttl=60", 60],
    ["touchAfter=0.5", 0.5],
    ["absoluteTimeout=3600", 3600],
    ["conflict=error", "error"],
    ["disableTouch=true", true],
    ["timeoutMs=100", 100],
    ["hashIds=true", true],
    ["hashIds=false", false],
    ["hashIds=env:TEST_SECRET", { secret: "s3cret" }],
    ["encryption=env:TEST_KEY", { keys: [KEY] }],
    ["encryption=env:TEST_KEYS", { keys: [KEY, OLDER_KEY] }],
    ["encryption.acceptUnencrypted=true&encryption=env:TEST_KEY", { keys: [KEY], acceptUnencrypted: true }],
    ["maxSessionsPerUser=5", { max: 5 }],
    ["maxSessionsPerUser=5:reject", { max: 5, onExceeded: "reject" }],
    ["maxSessionsPerUser=5:end-oldest", { max: 5, onExceeded: "end-oldest" }],
  ];
  const own: Record<string, [parameter: string, value: unknown][]> = {
    "memory:": [
      ["max=10", 10],
      ["maxBytes=1000", 1000],
      ["cleanupInterval=0", 0],
    ],
    "file:./x": [["cleanupInterval=5", 5]],
    "dynamodb:///": [
      ["consistentRead=false", false],
      ["compression=deflate", "deflate"],
      ["compression=false", false],
      ["attributes.ttl=expires&attributes.id=pk", { ttl: "expires", id: "pk" }],
    ],
    "etcd://h": [["cleanupInterval=5", 5]],
    "etcds://h": [["cleanupInterval=5", 5]],
  };

  describe.each(Object.keys(own))("%s", base => {
    const all = [...shared, ...(own[base] ?? [])];

    it.each(all)("%s", (parameter, value) => {
      const [name = ""] = parameter.split(/[=.]/);
      const options = optionsOf(`${base}?${parameter}`);
      expect(options[name]).toEqual(value);
      // The real constructor accepts them.
      createStore(`${base}?${parameter}`, { user: name === "maxSessionsPerUser" ? () => "u" : undefined });
    });

    it("has every option of the constructor that is no function, object or client", () => {
      const { message } = errorOf(base, { unknown: true });
      const [, list = ""] = /accepts (.*)\.$/.exec(message) ?? [];
      const elsewhere = ["serializer", "user", "now", "path", "client", "tableName"];
      const names = new Set(all.map(([parameter]) => parameter.split(/[=.]/)[0]));
      expect([...names].sort()).toEqual(
        list
          .split(", ")
          .filter(name => !elsewhere.includes(name))
          .sort(),
      );
    });
  });

  it("has every attribute of DynamoDB", () => {
    const { message } = errorOf("dynamodb:///?attributes.id=");
    const [, list = ""] = /for some of (.*), got/.exec(message) ?? [];
    const names = list.split(", ");
    expect(names).toHaveLength(8);
    const parameters = names.map(name => `attributes.${name}=my-${name}`).join("&");
    const store = createStore(`dynamodb:///?${parameters}`) as DynamoDBStore;
    expect(store.attributes).toEqual(Object.fromEntries(names.map(name => [name, `my-${name}`])));
  });

  it("go together with those that are passed beside it, but not if an option is in both", async () => {
    const user = () => "Ada";
    const ttl = () => 60;
    expect(optionsOf("memory:?max=5", { user, ttl, prefix: undefined })).toEqual({
      max: 5,
      user,
      ttl,
      prefix: undefined,
    });
    expect(optionsOf("memory:?ttl=5", { ttl: undefined })).toEqual({ ttl: 5 });
    for (const [url, options] of [
      ["memory:?ttl=5", { ttl }],
      ["etcd://h/shop", { prefix: "shop" }],
      ["file:./x", { path: "./y" }],
      ["dynamodb:///visits", { tableName: "sessions" }],
      ["dynamodb:///", { client: {} }],
      ["etcd://h", { client: {} }],
    ] as const) {
      const [name] = Object.keys(options);
      expect(errorOf(url, options)).toMatchObject({
        name: "TypeError",
        message: `\`${name}\` is set by the URL of the session store and by \`options\`: leave it out of one of them`,
      });
    }
    for (const options of [null, [], "ttl=5", 5]) {
      expect(errorOf("memory:", options).message).toMatch(/^Expected `options` to be an object of options/);
    }
    expect(errorOf("memory:", { endpoint: "http://h" }).message).toMatch(/^Unknown option `endpoint`/);
  });

  it("hash ids and encrypt sessions with the secrets of the environment", async () => {
    const store = createStore("memory:?encryption=env:TEST_KEYS&hashIds=env:TEST_SECRET");
    await store.set("sid", plain({ views: 1 }));
    expect(await store.get("sid")).toMatchObject({ views: 1 });
    expect(await store.ids()).not.toContain("sid");
    await store.close();
  });
});

describe("a URL that is wrong", () => {
  const known =
    /memory:, file:\.\/data\/sessions\.lmdb, dynamodb:\/\/eu-west-1\/sessions, etcd:\/\/.*, etcds:\/\/.*/;

  it.each([
    undefined,
    "",
    null,
    5,
    new URL("memory:"),
    "memory",
    "mem:",
    "redis://h",
    "C:\\data",
    ":",
    " memory:",
  ])("lists what is known: %p", url => {
    expect(errorOf(url)).toBeInstanceOf(TypeError);
    expect(errorOf(url).message).toMatch(known);
  });

  it.each([
    ["redis://:s3cret@h", /unknown scheme `redis:`/],
    ["constructor:", /not of a known scheme/],
    ["memory:x", /names a place/],
    ["memory://h", /names a place/],
    ["memory:#x", /`#`: write it as `%23`/],
    ["memory:\n", /a line break/],
    ["memory: ", /a space at its beginning or end/],
    ["memory:?ttll=1", /Unknown parameter `ttll` .* Known are hashIds, .*max, maxBytes, .*prefix, ttl/],
    ["memory:?__proto__=1", /Unknown parameter/],
    ["memory:?constructor=1", /Unknown parameter/],
    ["memory:?consistentRead=true", /Unknown parameter `consistentRead`/],
    ["memory:?max", /Expected `max` to be a number/],
    ["memory:?max=", /Expected `max` to be a number/],
    ["memory:?max=1e3", /Expected `max` to be a number/],
    ["memory:?max=0x10", /Expected `max` to be a number/],
    ["memory:?max=1.5", /Expected `max` to be a positive integer/],
    ["memory:?max=1&max=1", /parameter `max` more than once/],
    ["memory:?ttl=0", /Expected `ttl` to be a positive number of seconds/],
    ["memory:?disableTouch=yes", /Expected `disableTouch` to be true or false/],
    ["memory:?conflict=last", /Expected `conflict` to be "merge", "overwrite" or "error"/],
    ["memory:?maxSessionsPerUser=5", /needs the option `user`/],
    ["memory:?maxSessionsPerUser=5:end", /`:reject` or `:end-oldest`/],
    ["memory:?prefix=%E4", /a `%` in its query/],
    ["memory:?encryption.acceptUnencrypted=true", /`keys` is undefined/],
    [
      "memory:?encryption=env:TEST_UNSET",
      /The environment variable TEST_UNSET, .*`encryption`.*, is not set/,
    ],
    ["memory:?encryption=env:TEST_EMPTY", /The environment variable TEST_EMPTY, .*`encryption`.*, is empty/],
    ["memory:?encryption=env:TEST_SECRET", /TEST_SECRET.* keys of 32 bytes .*, but `keys\[0\]` has/],
    ["memory:?hashIds=env:TEST_UNSET", /The environment variable TEST_UNSET, .*`hashIds`/],
    ["memory:?hashIds=env:", /Expected `hashIds` to be true or false, or to name an environment variable/],
    ["file:", /does not name a file/],
    ["file://", /does not name a file/],
    ["file:?ttl=5", /does not name a file/],
    ["file:./data/", /does not name a file/],
    ["file:./a%00b", /does not name a file/],
    ["file:./100%", /a `%` in its path/],
    ["file://data/sessions.lmdb", /a host after `\/\/`.*`file:\.\/data\/sessions\.lmdb`/],
    ["dynamodb:sessions", /no `\/\/`/],
    ["dynamodb://sessions", /region such as/],
    ["dynamodb://127.0.0.1:8000/sessions", /an address is the parameter `endpoint`/],
    ["dynamodb://AKIA:s3cret@eu-west-1/sessions", /credentials\. The AWS SDK finds them/],
    ["dynamodb:///a", /Expected `tableName` to be/],
    ["dynamodb:///?endpoint=127.0.0.1:8000", /Expected `endpoint` to be an http or https URL/],
    ["dynamodb:///?endpoint=http://u:s3cret%40h", /Expected `endpoint` to be an http or https URL/],
    ["etcd:h1:2379", /names no host/],
    ["etcd:///prefix", /names no host/],
    ["etcd://h1,", /wrong host, number 2 of 2/],
    ["etcd://h1:0", /wrong host/],
    ["etcd://h1:65536", /wrong host/],
    ["etcd://h1:", /wrong host/],
    ["etcd://::1", /wrong host/],
    ["etcd://[::g]", /wrong host/],
    ["etcd://[127.0.0.1]", /wrong host/],
    ["etcd://h 1", /wrong host/],
    ["etcd://http://h1:2379", /wrong host/],
    ["etcd://u@h1", /a user without a password.*`password=env:NAME`/],
    ["etcd://:s3cret@h1", /no user before the `@`/],
    ["etcd://u:@h1", /an empty password/],
    ["etcd://h1?password=env:TEST_SECRET", /a password but no user/],
    ["etcd://u:p@h1?password=env:TEST_SECRET", /a password twice/],
    ["etcd://h1/a?prefix=b", /a prefix as its path and as a parameter/],
    ["etcd://h1?ca=ca.crt", /Unknown parameter `ca`/],
    ["etcds://h1?cert=a.crt", /only one of `cert` and `key`/],
    ["etcds://h1?ca=", /Expected `ca` to be the name of a PEM file/],
  ])("says what is wrong with %j", (url, message) => {
    expect(errorOf(url)).toBeInstanceOf(TypeError);
    expect(errorOf(url).message).toMatch(message);
    expect(errorOf(url).message).not.toContain("s3cret");
  });

  it.each(["hashIds", "encryption", "password"])("refuses a secret in the URL: %s", parameter => {
    for (const secret of [KEY, "s3cret", "$env:s3cret", "env:s3-cret"]) {
      const error = errorOf(`etcd://u@h1?${parameter}=${encodeURIComponent(secret)}`);
      expect(error.message).toContain(`${parameter}=env:NAME`);
      expect(inspect(error)).not.toContain(secret);
    }
  });

  it("does not show a private key that stands where the name of its file belongs", () => {
    const url = "etcds://h1?cert=c.pem&key=-----BEGIN PRIVATE KEY-----MIIEvQ";
    expect(inspect(errorOf(url))).not.toContain("MIIE");
  });
});

it("createStore never shows a password, encoded or not, in an error or in the store", () => {
  const password = fc.string({
    unit: fc.constantFrom(..."aZ9@:/?#%&=,[] +.-\\~\n\u00e4"),
    minLength: 1,
    maxLength: 12,
  });
  // A mark in each part of the URL that may contain the password.
  const marked = password.map(text => text.replace(/^|[@:/?#%&=,]|$/g, found => `${found}s3Cr3T`));
  const form = fc.constantFrom(
    (secret: string) => `etcd://user:${secret}@h1:2379,h2/prefix`,
    (secret: string) => `etcd://${secret}@h1`,
    (secret: string) => `etcds://user:${secret}@h1,/prefix?ttl=x`,
    (secret: string) => `etcd://user:${secret}@h1?max=5`,
    (secret: string) => `ETCD://user:${secret}@[::1]:99999`,
    (secret: string) => `etcd:/user:${secret}@h1`,
    (secret: string) => `etc://user:${secret}@h1`,
    (secret: string) => `dynamodb://AKIA:${secret}@eu-west-1/sessions`,
    (secret: string) => `dynamodb://local/sessions?endpoint=http://u:${secret}@h1`,
    (secret: string) => `memory://user:${secret}@h1`,
    (secret: string) => `file://user:${secret}@h1/x`,
    (secret: string) => `memory:?ttl=5&encryption=${secret}`,
    (secret: string) => `memory:?hashIds=${secret}`,
    (secret: string) => `etcd://user@h1?password=${secret}`,
  );
  fc.assert(
    fc.property(marked, form, fc.boolean(), (secret, urlOf, isEncoded) => {
      let shown: unknown;
      try {
        shown = createStore(urlOf(isEncoded ? encodeURIComponent(secret) : secret));
      } catch (error) {
        expect(error).toBeInstanceOf(TypeError);
        shown = error;
      }
      const text = [
        inspect(shown, { depth: 9, showHidden: true }),
        String(shown),
        (shown as Error).stack,
      ].join();
      expect(text).not.toContain("s3Cr3T");
    }),
    { numRuns: 2000 },
  );
});

describe("a session file", () => {
  let folder: string;
  const cwd = process.cwd();
  beforeEach(async () => {
    folder = await realpath(await mkdtemp(join(tmpdir(), "express-session-stores-test-")));
    process.chdir(folder);
  });
  afterEach(async () => {
    process.chdir(cwd);
    await rm(folder, { recursive: true });
  });

  it("is found from the working directory and by its absolute name", async () => {
    const sid = randomUUID();
    for (const url of [
      "file:./my data/sessions.lmdb",
      `file://${folder}/my%20data/sessions.lmdb`,
      `file:${folder}/my data/sessions.lmdb`,
    ]) {
      const store = createStore(url);
      await store.set(sid, plain({ views: 1 }));
      expect(await store.length()).toBe(1);
      await store.close();
    }
  });

  it("is not touched before the first call", async () => {
    await writeFile("text.lmdb", "This is no session file, and it is longer than a page header.".repeat(100));
    const store = createStore("file:./text.lmdb");
    await expect(store.get("sid")).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    await store.close();
  });
});
