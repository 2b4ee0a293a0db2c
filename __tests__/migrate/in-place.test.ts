import { mkdtemp, readdir, rm } from "node:fs/promises";
import type { RequestListener } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  DeleteTableCommand,
  DescribeTimeToLiveCommand,
  type DynamoDBClient,
  ScanCommand,
} from "@aws-sdk/client-dynamodb";
import session, { type Store } from "express-session";
import type { DynamoDBAttributes } from "../../lib/dynamodb.js";
import { DynamoDBStore } from "../../lib/dynamodb.js";
import { FileStore } from "../../lib/file.js";
import type { AbstractStore } from "../../lib/index.js";
import {
  copy,
  MigratingStore,
  readConnectDynamoDB,
  readDynamoDBStore,
  readSessionFileStore,
  type SessionReader,
  type Stage,
} from "../../lib/migrate.js";
import { Browser, createApp } from "../helpers/apps/app.js";
import { dynamodbClient } from "../helpers/engines/engines.js";
import { createDynamoDBStore } from "../helpers/migration/old-stores.js";

const COOKIE = { maxAge: 600_000 };
const VISITORS = 40;

interface Place {
  readonly from: Store;
  readonly reader: SessionReader;
  createStore(): AbstractStore;
}

function app({ from, createStore }: Place, stage: Stage): RequestListener {
  const store = new MigratingStore({ from, to: createStore(), stage });
  return createApp(store, { cookie: COOKIE });
}

async function signIn(listener: RequestListener, count: number): Promise<Browser[]> {
  const browsers = Array.from({ length: count }, () => new Browser(listener));
  await Promise.all(browsers.map((browser, index) => browser.send(`POST /sign-in?user=user-${index}`)));
  return browsers;
}

const usersOf = (browsers: readonly Browser[], listener: RequestListener) =>
  Promise.all(browsers.map(async browser => (await browser.clone(listener).fields()).user));

/**
 * Half of the visitors come while the sessions are copied, the others never do. Some sign out in the meantime. Then the
 * new store alone serves everything that remains.
 */
async function takeOver(place: Place): Promise<void> {
  const oldSite = createApp(place.from, { cookie: COOKIE });
  const visitors = await signIn(oldSite, VISITORS);
  const users = visitors.map((_, index) => `user-${index}`);
  expect(await usersOf(visitors, app(place, "from"))).toEqual(users);

  const active = visitors.slice(0, VISITORS / 2);
  const leaving = new Set(active.slice(0, 5));
  const fromFirst = app(place, "from-first");
  const toFirst = app(place, "to-first");
  const target = place.createStore();
  const copied = copy({ from: place.reader, to: target, concurrency: 4 });
  for (const [index, browser] of active.entries()) {
    const side = index % 2 === 0 ? fromFirst : toFirst;
    await browser.clone(side).send(`POST /set?seen=${index}`);
    if (leaving.has(browser)) await browser.clone(side).send("POST /sign-out");
  }
  const { failed, seen } = await copied;
  expect(failed).toBe(0);
  expect(seen).toBeGreaterThanOrEqual(VISITORS - leaving.size);

  const newSite = createApp(target, { cookie: COOKIE });
  const staying = visitors.map((visitor, index) => (leaving.has(visitor) ? undefined : users[index]));
  expect(await usersOf(visitors, app(place, "to"))).toEqual(staying);
  expect(await usersOf(visitors, newSite)).toEqual(staying);
  for (const [index, browser] of active.entries()) {
    const { seen } = await browser.clone(newSite).fields();
    expect(seen).toBe(leaving.has(browser) ? undefined : String(index));
  }
}

let cleanUp: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const each of cleanUp.reverse()) await each();
  cleanUp = [];
});

describe("a migrating store in the table of the old store, with other keys", () => {
  interface TableKind {
    readonly name: string;
    open(client: DynamoDBClient, tableName: string): Promise<Store>;
    read(client: DynamoDBClient, tableName: string): SessionReader;
    readonly attributes: Partial<DynamoDBAttributes>;
  }
  const kinds: TableKind[] = [
    {
      name: "connect-dynamodb",
      open: async (client, table) => {
        const store = new (require("connect-dynamodb")(session))({ client, table });
        await store.initialize();
        return store;
      },
      read: (client, table) => readConnectDynamoDB({ client, table }),
      attributes: { ttl: "expires" },
    },
    {
      name: "dynamodb-store",
      open: (_client, name) => createDynamoDBStore(name, process.env.DYNAMODB_ENDPOINT),
      read: (client, name) => readDynamoDBStore({ client, table: { name } }),
      attributes: { id: "sessionId", ttl: "expires" },
    },
  ];

  it.each(kinds)("takes over from $name", async ({ name, open, read, attributes }) => {
    const client = dynamodbClient();
    const tableName = `place-${name}-${Date.now()}`;
    const from = await open(client, tableName);
    cleanUp.push(async () => {
      await client.send(new DeleteTableCommand({ TableName: tableName }));
      client.destroy();
    });
    const createStore = () => {
      const store = new DynamoDBStore({ client, tableName, attributes, prefix: "new:", touchAfter: 0 });
      cleanUp.push(() => store.close());
      return store;
    };
    const place: Place = { from, reader: read(client, tableName), createStore };
    // Waits until the old store has created the table, and lets DynamoDB delete items of both stores.
    await createStore().createTable();
    const { TimeToLiveDescription } = await client.send(
      new DescribeTimeToLiveCommand({ TableName: tableName }),
    );
    expect(TimeToLiveDescription?.AttributeName).toBe("expires");

    const sameKeys = new DynamoDBStore({ client, tableName, attributes });
    cleanUp.push(() => sameKeys.close());
    expect(() => new MigratingStore({ from, to: sameKeys, stage: "from" })).toThrow(
      `Expected \`to\` to have another prefix than \`from\` in the table "${tableName}", where both have "sess:"`,
    );

    await takeOver(place);

    // Neither store treats the items of the other as its own.
    const store = createStore();
    expect(await store.length()).toBe(VISITORS - 5);
    const corrupt: unknown[] = [];
    store.on("corrupt", event => corrupt.push(event));
    await store.clear();
    expect(corrupt).toEqual([]);
    expect(await store.length()).toBe(0);
    const { Items = [] } = await client.send(new ScanCommand({ TableName: tableName }));
    const keys = Items.map(item => item[attributes.id ?? "id"]?.S ?? "");
    expect(keys.filter(key => key.startsWith("sess:")).length).toBeGreaterThanOrEqual(VISITORS - 5);
  });
});

describe("a migrating store from the folder of session-file-store to a file", () => {
  it("takes over while the site runs", async () => {
    const folder = await mkdtemp(join(tmpdir(), "place-"));
    cleanUp.push(() => rm(folder, { recursive: true }));
    const path = join(folder, "sessions");
    const fileStore = require("session-file-store")(session);
    const from: Store = new fileStore({ path, reapInterval: -1, retries: 0, logFn() {} });
    const createStore = () => {
      const store = new FileStore({ path: join(folder, "sessions.lmdb"), touchAfter: 0 });
      cleanUp.push(() => store.close());
      return store;
    };
    await takeOver({ from, reader: readSessionFileStore({ path }), createStore });
    // The way back stays open, because only sign-outs were deleted.
    const files = (await readdir(path)).filter(name => name.endsWith(".json"));
    expect(files.length).toBe(VISITORS - 5);
  });
});
