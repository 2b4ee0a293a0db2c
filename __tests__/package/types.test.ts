import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import type { Etcd3 } from "etcd3";
import { expectTypeOf } from "expect-type";
import session, { type SessionData, type Store } from "express-session";
import {
  AbstractStore,
  type ActivityUpdate,
  type Awaitable,
  type Callback,
  type CallOptions,
  type ConflictEvent,
  type ConflictPolicy,
  type CorruptEvent,
  conditionHolds,
  decodeRecord,
  type EncryptionOptions,
  type ExpiredEvent,
  encodeRecord,
  type Found,
  type FoundRecord,
  type HashIdsOptions,
  type IfAbsent,
  type IfVersion,
  isTombstone,
  type ListedSession,
  type Operation,
  type OperationMessage,
  type RecordWrite,
  type Removal,
  recordOf,
  type ScannedRecord,
  type Serializer,
  type StoredRecord,
  StoreError,
  type StoreErrorCode,
  type StoreEvents,
  type StoreOptions,
  type Ttl,
  touchHolds,
  UNREADABLE,
  type WriteCondition,
  type WriteResult,
} from "express-session-stores";
import { type ConformanceOptions, storeConformance } from "express-session-stores/conformance";
import {
  type DynamoDBAttributes,
  DynamoDBStore,
  type DynamoDBStoreOptions,
} from "express-session-stores/dynamodb";
import { EtcdStore, type EtcdStoreOptions } from "express-session-stores/etcd";
import { FileStore, type FileStoreOptions } from "express-session-stores/file";
import { MemoryStore, type MemoryStoreOptions } from "express-session-stores/memory";

/*
 * What a user's editor says. The compiler checks it (`npm run check:types`). jest only runs the code without its types,
 * and checks that calls which do not compile are also rejected at run time.
 */

declare module "express-session" {
  // Optional, and with a name that no other test uses, because all test files are one program.
  interface SessionData {
    visitorOfTypesTest?: { name: string };
  }
}

const etcd = { kv: { txn() {} }, leaseClient: { leaseGrant() {} } } as unknown as Etcd3;
const dynamodb = new DynamoDBClient();

/** Code that is compiled, but never run. */
function compiled(_code: (store: MemoryStore, data: SessionData, signal: AbortSignal) => unknown): void {}

describe("the stores", () => {
  it("are stores of express-session", () => {
    expectTypeOf<AbstractStore>().toExtend<Store>();
    const stores = [
      new MemoryStore(),
      new FileStore({ path: "never-opened.lmdb" }),
      new DynamoDBStore({ client: dynamodb }),
      new EtcdStore({ client: etcd }),
    ];
    for (const store of stores) session({ store, secret: "secret", resave: false, saveUninitialized: false });
  });

  it("tell listeners what they get", () => {
    const store = new MemoryStore();
    store.on("conflict", event => expectTypeOf(event).toEqualTypeOf<ConflictEvent>());
    store.once("corrupt", event => expectTypeOf(event).toEqualTypeOf<CorruptEvent>());
    store.on("expired", event => expectTypeOf(event).toEqualTypeOf<ExpiredEvent>());
    store.on("error", (error: Error) => expectTypeOf(error).toEqualTypeOf<Error>());
    const heard: number[] = [];
    store.on("anything", (one: number, other: number) => heard.push(one, other));
    store.emit("anything", 1, 2);
    expect(heard).toEqual([1, 2]);
  });

  it("tell what they were given, and do not let it be changed", () => {
    expectTypeOf<MemoryStore["prefix"]>().toEqualTypeOf<string>();
    expectTypeOf<FileStore["path"]>().toEqualTypeOf<string>();
    expectTypeOf<DynamoDBStore["tableName"]>().toEqualTypeOf<string>();
    expectTypeOf<DynamoDBStore["attributes"]>().toEqualTypeOf<Readonly<DynamoDBAttributes>>();
    compiled(store => {
      // @ts-expect-error
      store.prefix = "other:";
    });
  });
});

describe("methods", () => {
  it("return a promise without a callback", () => {
    compiled((store, data, signal) => {
      expectTypeOf(store.get("sid")).toEqualTypeOf<Promise<SessionData | null>>();
      expectTypeOf(store.get("sid", { signal })).toEqualTypeOf<Promise<SessionData | null>>();
      expectTypeOf(store.set("sid", data)).toEqualTypeOf<Promise<void>>();
      expectTypeOf(store.set("sid", data, { signal })).toEqualTypeOf<Promise<void>>();
      expectTypeOf(store.touch("sid", data)).toEqualTypeOf<Promise<void>>();
      expectTypeOf(store.touch("sid", data, { signal })).toEqualTypeOf<Promise<void>>();
      expectTypeOf(store.destroy("sid")).toEqualTypeOf<Promise<void>>();
      expectTypeOf(store.destroy("sid", { signal })).toEqualTypeOf<Promise<void>>();
      expectTypeOf(store.all()).toEqualTypeOf<Promise<ListedSession[]>>();
      expectTypeOf(store.all({ signal })).toEqualTypeOf<Promise<ListedSession[]>>();
      expectTypeOf(store.ids()).toEqualTypeOf<Promise<string[]>>();
      expectTypeOf(store.ids({ signal })).toEqualTypeOf<Promise<string[]>>();
      expectTypeOf(store.length()).toEqualTypeOf<Promise<number>>();
      expectTypeOf(store.length({ signal })).toEqualTypeOf<Promise<number>>();
      expectTypeOf(store.clear()).toEqualTypeOf<Promise<void>>();
      expectTypeOf(store.clear({ signal })).toEqualTypeOf<Promise<void>>();
      expectTypeOf(store.ping()).toEqualTypeOf<Promise<void>>();
      expectTypeOf(store.ping({ signal })).toEqualTypeOf<Promise<void>>();
      expectTypeOf(store.close()).toEqualTypeOf<Promise<void>>();
      expectTypeOf(store.entries({ signal })).toExtend<AsyncIterable<[string, SessionData]>>();
    });
  });

  it("return nothing with a callback, and tell it what there is", () => {
    compiled((store, data) => {
      const returned = [
        store.get("sid", (_error, found) =>
          expectTypeOf(found).toEqualTypeOf<SessionData | null | undefined>(),
        ),
        store.set("sid", data, _error => {}),
        store.touch("sid", data, () => {}),
        store.destroy("sid", _error => {}),
        store.all((_error, found) => expectTypeOf(found).toEqualTypeOf<ListedSession[] | undefined>()),
        store.ids((_error, found) => expectTypeOf(found).toEqualTypeOf<string[] | undefined>()),
        store.length((_error, found) => expectTypeOf(found).toEqualTypeOf<number | undefined>()),
        store.clear(_error => {}),
        store.ping(_error => {}),
        store.close(_error => {}),
      ];
      expectTypeOf(returned).items.toBeVoid();
    });
  });

  it("take no other arguments", () => {
    compiled((store, data, signal) => {
      // @ts-expect-error
      store.get();
      // @ts-expect-error
      store.get(1);
      // @ts-expect-error
      store.get("sid", signal);
      // @ts-expect-error
      store.get("sid", { timeout: 100 });
      // @ts-expect-error
      store.get("sid", () => {}, { signal });
      // @ts-expect-error
      store.set("sid");
      // @ts-expect-error
      store.set("sid", { user: "without a cookie" });
      // @ts-expect-error
      store.touch("sid");
      // @ts-expect-error
      store.destroy("sid", data);
      // @ts-expect-error
      store.entries(() => {});
      // @ts-expect-error
      store.close({ signal });
    });
  });

  it("that only some stores have are on these alone", () => {
    expectTypeOf<MemoryStore["cleanup"]>().toEqualTypeOf<() => Promise<number>>();
    expectTypeOf<FileStore["cleanup"]>().toEqualTypeOf<() => Promise<number>>();
    expectTypeOf<DynamoDBStore["createTable"]>().toEqualTypeOf<(options?: CallOptions) => Promise<void>>();
    expectTypeOf<EtcdStore["cleanup"]>().toEqualTypeOf<() => Promise<number>>();
    expectTypeOf<DynamoDBStore>().not.toHaveProperty("cleanup");
    expectTypeOf<AbstractStore>().not.toHaveProperty("createTable");
  });
});

describe("sessions", () => {
  it("have the properties that the application added to SessionData", async () => {
    const store = new MemoryStore();
    const cookie = new session.Cookie();
    await store.set("sid", { cookie, visitorOfTypesTest: { name: "Ada" } });
    const found = await store.get("sid");
    expectTypeOf(found?.visitorOfTypesTest).toEqualTypeOf<{ name: string } | undefined>();
    expect(found?.visitorOfTypesTest?.name).toBe("Ada");
    const [listed] = await store.all();
    expectTypeOf(listed?.visitorOfTypesTest).toEqualTypeOf<{ name: string } | undefined>();
    expectTypeOf(listed?.id).toEqualTypeOf<string | undefined>();
    for await (const [sid, entry] of store.entries()) {
      expectTypeOf(sid).toEqualTypeOf<string>();
      expectTypeOf(entry.visitorOfTypesTest).toEqualTypeOf<{ name: string } | undefined>();
    }
    const ttl = ({ visitorOfTypesTest }: SessionData) => (visitorOfTypesTest ? 3600 : 60);
    expectTypeOf(ttl).toExtend<NonNullable<StoreOptions["ttl"]>>();
    compiled(async () => {
      // @ts-expect-error
      found?.visitorOfTypesTest?.age;
      // @ts-expect-error
      await store.set("sid", { cookie, visitorOfTypesTest: "Ada" });
    });
    await store.close();
  });
});

describe("options", () => {
  it("may be left out or undefined", () => {
    new MemoryStore({});
    new MemoryStore({ prefix: undefined, ttl: undefined, max: undefined, cleanupInterval: undefined });
    new DynamoDBStore({ client: dynamodb, tableName: undefined, attributes: { id: "pk" } });
    new DynamoDBStore({ client: DynamoDBDocumentClient.from(dynamodb) });
    expectTypeOf<Pick<FileStoreOptions, "path">>().toEqualTypeOf<{ path: string }>();
    for (const conflict of ["merge", "overwrite", "error"] satisfies ConflictPolicy[]) {
      new MemoryStore({ conflict });
    }
  });

  it("are the shared ones and those of the store", () => {
    type Own<Options> = Exclude<keyof Options, keyof StoreOptions>;
    expectTypeOf<Own<MemoryStoreOptions>>().toEqualTypeOf<"max" | "maxBytes" | "cleanupInterval">();
    expectTypeOf<Own<FileStoreOptions>>().toEqualTypeOf<"path" | "cleanupInterval">();
    expectTypeOf<Own<DynamoDBStoreOptions>>().toEqualTypeOf<
      "client" | "tableName" | "attributes" | "consistentRead" | "compression"
    >();
    expectTypeOf<Own<EtcdStoreOptions>>().toEqualTypeOf<"client" | "cleanupInterval">();
  });

  it.each<[what: string, construct: () => unknown]>([
    // @ts-expect-error
    ["an unknown name", () => new MemoryStore({ maximum: 1000 })],
    // @ts-expect-error
    ["one of another store", () => new EtcdStore({ client: etcd, path: "sessions.lmdb" })],
    // @ts-expect-error
    ["a prefix that is no string", () => new MemoryStore({ prefix: 1 })],
    // @ts-expect-error
    ["a ttl that is no number", () => new MemoryStore({ ttl: "1 day" })],
    // @ts-expect-error
    ["a touchAfter that is no number", () => new MemoryStore({ touchAfter: null })],
    // @ts-expect-error
    ["a policy that does not exist", () => new MemoryStore({ conflict: "ignore" })],
    // @ts-expect-error
    ["a serializer of one direction", () => new MemoryStore({ serializer: { stringify: JSON.stringify } })],
    // @ts-expect-error
    ["a clock that is a time", () => new MemoryStore({ now: Date.now() })],
    // @ts-expect-error
    ["no options for the file store", () => new FileStore()],
    // @ts-expect-error
    ["no path", () => new FileStore({})],
    // @ts-expect-error
    ["no DynamoDB client", () => new DynamoDBStore({ tableName: "sessions" })],
    // @ts-expect-error
    ["a configuration for a client", () => new DynamoDBStore({ client: { region: "eu-central-1" } })],
    // @ts-expect-error
    ["an unknown attribute", () => new DynamoDBStore({ client: dynamodb, attributes: { sid: "id" } })],
    // @ts-expect-error
    ["no etcd client", () => new EtcdStore({})],
    // @ts-expect-error
    ["a configuration for an etcd client", () => new EtcdStore({ client: { hosts: "etcd-0:2379" } })],
  ])("neither compile nor are accepted with %s", (_what, construct) => {
    expect(construct).toThrow(TypeError);
  });

  it("do not compile with a ttl function that returns no number", () => {
    compiled(() => {
      // @ts-expect-error
      new MemoryStore({ ttl: () => "1 day" });
    });
  });

  it("take a serializer that is asynchronous", () => {
    const serializer: Serializer = {
      stringify: async value => JSON.stringify(value),
      parse: text => JSON.parse(text),
    };
    new MemoryStore({ serializer });
    expectTypeOf(JSON).toExtend<Serializer>();
    expectTypeOf<Awaitable<string>>().toEqualTypeOf<string | PromiseLike<string>>();
  });
});

describe("options and messages", () => {
  it("have types of their own", () => {
    expectTypeOf<StoreOptions["hashIds"]>().toEqualTypeOf<boolean | HashIdsOptions | undefined>();
    expectTypeOf<keyof HashIdsOptions>().toEqualTypeOf<"secret">();
    expectTypeOf<StoreOptions["encryption"]>().toEqualTypeOf<EncryptionOptions | undefined>();
    expectTypeOf<keyof EncryptionOptions>().toEqualTypeOf<"keys" | "acceptUnencrypted">();
    expectTypeOf<StoreOptions["ttl"]>().toEqualTypeOf<Ttl | undefined>();
    expectTypeOf<keyof StoreEvents>().toEqualTypeOf<"conflict" | "corrupt" | "expired" | "error">();
    expectTypeOf<OperationMessage["durationMs"]>().toEqualTypeOf<number>();
  });
});

describe("events and errors", () => {
  it("have types", () => {
    expectTypeOf<ConflictEvent>().toEqualTypeOf<{
      reason: "gone" | "merged" | "untracked";
      keys: string[];
      sidHash: string;
    }>();
    expectTypeOf<CorruptEvent>().toEqualTypeOf<{ sidHash: string; cause: unknown }>();
    new MemoryStore().on("conflict", ({ reason }: ConflictEvent) => reason);
    expectTypeOf<Callback<number>>().toExtend<(error?: Error | null, value?: number) => void>();
    expectTypeOf<StoreError>().toExtend<Error>();
    expectTypeOf<StoreError["code"]>().toEqualTypeOf<StoreErrorCode>();
    new StoreError("ERR_STORE_TIMEOUT", "late", { cause: new Error() });
    compiled(() => {
      // @ts-expect-error
      new StoreError("ERR_TYPO", "a code that does not exist");
    });
  });
});

/** The minimal custom store, with only the exports of the package. */
class OwnStore extends AbstractStore {
  readonly #records = new Map<string, string>();

  constructor(options: StoreOptions = {}) {
    super(options);
  }

  protected override _read(key: string): Found | undefined {
    const text = this.#records.get(key);
    return text === undefined ? undefined : { record: decodeRecord(text), token: text.length };
  }

  protected override async _write(
    key: string,
    { record, condition }: RecordWrite,
    { signal }: Operation,
  ): Promise<WriteResult> {
    signal.throwIfAborted();
    const current = this._read(key);
    if (!conditionHolds(current, condition)) return { written: false, current, retried: false };
    this.#records.set(key, encodeRecord(record));
    return { written: true, token: record.version };
  }

  protected override _touch(key: string, touch: ActivityUpdate): WriteResult {
    const current = this._read(key);
    if (!touchHolds(current, touch)) return { written: false, current };
    const { record } = current;
    this.#records.set(key, encodeRecord({ ...record, activeAt: touch.activeAt }));
    return { written: true };
  }

  protected override _remove(key: string, { tombstone, id, deleteAt }: Removal): void {
    expectTypeOf(deleteAt).toEqualTypeOf<number>();
    const record = this._read(key)?.record;
    if (record !== undefined && record !== UNREADABLE && record.version.includes(id)) return;
    this.#records.set(key, encodeRecord(tombstone));
  }

  protected override async *_scan(start: string): AsyncGenerator<ScannedRecord[]> {
    for (const [key, text] of this.#records) {
      if (key.startsWith(start)) yield [{ key, record: decodeRecord(text) }];
    }
  }
}

describe("records", () => {
  const record: StoredRecord = { data: "{}", version: "v", lifetime: 1, activeAt: 2, createdAt: 3 };

  it("are encoded and decoded, with the user that they belong to", () => {
    for (const user of [undefined, "ann", "", "späße 😀\n%"]) {
      expect(decodeRecord(encodeRecord({ ...record, user }))).toEqual({ ...record, user });
    }
    expectTypeOf(decodeRecord).returns.toEqualTypeOf<StoredRecord | typeof UNREADABLE>();
  });

  it("are not what any other text or fields decode to", () => {
    for (const text of ["", "\n", "2\n", "1 v 1 2 3\n{}", "2 v 1 2\n{}", "2 v 1 2 x\n{}", "v 1 2 3\n{}"]) {
      expect(decodeRecord(text)).toBe(UNREADABLE);
    }
    expect(recordOf({ ...record, user: undefined })).toEqual(record);
    expect(recordOf({ ...record, user: undefined, activeAt: "2" })).toBe(UNREADABLE);
  });

  it("must be told from what cannot be read and from tombstones", () => {
    expectTypeOf<Found["record"]>().toEqualTypeOf<StoredRecord | typeof UNREADABLE>();
    expectTypeOf<FoundRecord["record"]>().toEqualTypeOf<StoredRecord>();
    expectTypeOf(UNREADABLE).toBeSymbol();
    expect(isTombstone(record)).toBe(false);
    expect(isTombstone({ ...record, data: "", lifetime: 0 })).toBe(true);
    compiled(() => {
      const found = { record } as Found;
      // @ts-expect-error
      isTombstone(found.record);
      // @ts-expect-error
      record.version = "other";
    });
  });

  it("are written on conditions", () => {
    expectTypeOf<WriteCondition>().toEqualTypeOf<IfAbsent | IfVersion>();
    const ifAbsent: IfAbsent = { absent: true };
    expect(conditionHolds(undefined, ifAbsent)).toBe(true);
    expect(conditionHolds({ record: UNREADABLE }, ifAbsent)).toBe(false);
    const condition: IfVersion = {
      absent: false,
      version: "v",
      activeFrom: 2,
      activeTo: 2,
      token: undefined,
    };
    expect(conditionHolds({ record }, condition)).toBe(true);
    for (const [activeFrom, activeTo] of [
      [3, 9],
      [0, 1],
    ] as const) {
      expect(conditionHolds({ record }, { ...condition, activeFrom, activeTo })).toBe(false);
    }
    expect(conditionHolds({ record: UNREADABLE }, condition)).toBe(false);
    expect(conditionHolds({ record }, { ...condition, version: "w" })).toBe(false);
  });
});

describe("a store of one's own", () => {
  it("has the methods and types of the others", async () => {
    const store = new OwnStore({ prefix: "own:" });
    session({ store, secret: "secret", resave: false, saveUninitialized: false });
    await store.set("sid", { cookie: new session.Cookie(), visitorOfTypesTest: { name: "Ada" } });
    expect((await store.get("sid"))?.visitorOfTypesTest?.name).toBe("Ada");
    expect(await store.ids()).toEqual(["sid"]);
  });

  it("can be given to the conformance suite, which hands it the shared options", () => {
    const titles: string[] = [];
    const runner: Pick<ConformanceOptions, "describe" | "it"> = {
      describe: (_name, body) => body(),
      it: name => titles.push(name),
    };
    storeConformance({
      ...runner,
      createStore: options => {
        expectTypeOf(options).toEqualTypeOf<StoreOptions>();
        return new OwnStore(options);
      },
      breakBackend: store => {
        expectTypeOf(store).toEqualTypeOf<OwnStore>();
      },
    });
    expect(titles.length).toBeGreaterThan(100);
    compiled(() => {
      // @ts-expect-error
      storeConformance({ ...runner, createStore: () => new Map() });
      // @ts-expect-error
      storeConformance(runner);
    });
  });

  it("does not compile without all operations, or with others than those of the base", () => {
    // @ts-expect-error
    class Incomplete extends AbstractStore {}
    class Wrong extends OwnStore {
      // @ts-expect-error
      protected override _read(key: string): string {
        return key;
      }
      // @ts-expect-error
      protected override _touch(): void {}
    }
    compiled(store => {
      // @ts-expect-error
      new AbstractStore();
      // @ts-expect-error
      store._read("sess:sid");
    });
    expect([Incomplete, Wrong]).toHaveLength(2);
  });
});
