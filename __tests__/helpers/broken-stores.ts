import { setImmediate as turn } from "node:timers/promises";
import {
  AbstractStore,
  canExtend,
  decodeRecord,
  type Expected,
  type Extension,
  encodeRecord,
  isExpected,
  type ScannedRecord,
  type StoredRecord,
  StoreError,
  type StoreOptions,
  UNREADABLE,
  type WriteResult,
} from "../../lib/index.js";

const PAGE_SIZE = 100;

/** The limit of a {@link MapStore} on one session. */
export const MAX_SESSION_BYTES = 1_000_000;

/** A correct and simple store on a Map that stores can share, for the faults below to break. */
export class MapStore extends AbstractStore {
  readonly #records: Map<string, string>;
  /** Whether the backend is out of order. */
  down = false;

  constructor(options: StoreOptions, records: Map<string, string>) {
    super(options);
    this.#records = records;
  }

  get records(): Map<string, string> {
    if (this.down) throw new Error("ECONNREFUSED");
    return this.#records;
  }

  override _read(key: string): StoredRecord | undefined {
    const text = this.records.get(key);
    return text === undefined ? undefined : decodeRecord(text);
  }

  override _write(key: string, record: StoredRecord, expected: Expected | undefined): WriteResult {
    const size = Buffer.byteLength(record.data);
    if (size > MAX_SESSION_BYTES) {
      throw new StoreError("ERR_SESSION_TOO_LARGE", `${size} bytes, but the limit is ${MAX_SESSION_BYTES}`);
    }
    const current = this._read(key);
    if (!isExpected(current, expected)) return { written: false, current };
    this.records.set(key, encodeRecord(record));
    return { written: true };
  }

  override _extend(key: string, extension: Extension): boolean {
    const record = this._read(key);
    if (!canExtend(record, extension)) return false;
    const { expiresAt, slack } = extension;
    this.records.set(key, encodeRecord({ ...record, expiresAt, slack }));
    return true;
  }

  override _remove(key: string): void {
    this.records.delete(key);
  }

  override async *_scan(start: string): AsyncGenerator<ScannedRecord[]> {
    const keys = [...this.records.keys()].filter(key => key.startsWith(start));
    while (keys.length > 0) {
      yield keys
        .splice(0, PAGE_SIZE)
        .map(key => ({ key, record: this._read(key) }))
        .filter((found): found is ScannedRecord => found.record !== undefined);
    }
  }

  override async _removeAll(keys: string[]): Promise<void> {
    for (const key of keys) this._remove(key);
  }
}

/** One way to break the contract. */
export interface Fault {
  /** What a store with this fault does. */
  does: string;
  /** The topic and the name of the test that is meant to catch it. */
  caughtBy: [topic: string, test: string];
  /** Puts the fault into a store. */
  breakStore(store: MapStore): void;
}

// biome-ignore lint/suspicious/noExplicitAny: stands for methods of any signature, overloaded ones among them
type AnyMethod = (...args: any[]) => any;

/** Replaces a method of a store by what `wrap` makes of it. */
function replace(store: MapStore, method: keyof MapStore, wrap: (original: AnyMethod) => AnyMethod): void {
  const original = (store[method] as AnyMethod).bind(store);
  Object.defineProperty(store, method, { value: wrap(original) });
}

const keyed = ["_read", "_write", "_extend", "_remove"] as const;
const YEARS_MS = 1e12;

export const faults: Fault[] = [
  {
    does: "brings back what was destroyed",
    caughtBy: [
      "sessions that are gone",
      "a session destroyed while a request ran is not brought back by its save (conflict: merge)",
    ],
    breakStore: store =>
      replace(
        store,
        "_write",
        write => (key, record, expected) =>
          write(key, record, store._read(key) === undefined ? undefined : expected),
      ),
  },
  {
    does: "takes a session that was created again for the one that was loaded",
    caughtBy: [
      "sessions that are gone",
      "a session created again under the same sid is not overwritten by a request of the old one (conflict: overwrite)",
    ],
    breakStore: store =>
      replace(store, "_write", write => (key, record, expected) => {
        const result: WriteResult = write(key, record, expected);
        if (result.written || result.current === undefined) return result;
        return write(key, record, undefined);
      }),
  },
  {
    does: "forgets what a request has loaded",
    caughtBy: ["sessions that changed", "a save without changes, as with resave, leaves what others changed"],
    breakStore: store =>
      replace(store, "createSession", createSession => (req, data) => createSession(req, { ...data })),
  },
  {
    does: "writes over what another request changed",
    caughtBy: ["sessions that changed", "two requests that change different keys lose nothing"],
    breakStore: store =>
      replace(
        store,
        "_write",
        write => (key, record, expected) =>
          write(key, record, store._read(key) === undefined ? expected : undefined),
      ),
  },
  {
    does: "checks the version and writes in two steps",
    caughtBy: ["two stores on one backend", "merge each other's changes, with 20 saves at the same time"],
    breakStore: store =>
      replace(store, "_write", write => async (key, record, expected) => {
        const current = store._read(key);
        await turn();
        if (expected !== undefined && current?.version !== expected.version) {
          return { written: false, current };
        }
        return write(key, record, undefined);
      }),
  },
  {
    does: "touches a missing session into being",
    caughtBy: ["touch", "succeeds for a session that does not exist, and writes nothing"],
    breakStore: store =>
      replace(store, "_extend", extend => (key, extension: Extension) => {
        if (store._read(key) !== undefined) return extend(key, extension);
        store._write(key, { ...extension, data: '{"cookie":{}}', version: "a.b", createdAt: 0 }, undefined);
        return true;
      }),
  },
  {
    does: "shortens a session by a touch",
    caughtBy: ["touch", "never shortens a session"],
    breakStore: store =>
      replace(store, "_extend", () => (key, { expiresAt, slack }: Extension) => {
        const record = store._read(key);
        if (record === undefined) return false;
        return store._write(key, { ...record, expiresAt, slack }, undefined).written;
      }),
  },
  {
    does: "brings back an expired session by a touch",
    caughtBy: ["touch", "does not bring back a session that has expired"],
    breakStore: store =>
      replace(store, "_extend", extend => (key, extension) => extend(key, { ...extension, now: 0 })),
  },
  {
    does: "takes a touch for a change",
    caughtBy: ["touch", "is no change for a request that loaded the session before"],
    breakStore: store =>
      replace(store, "_extend", extend => (key, extension) => {
        const extended = extend(key, extension);
        const record = store._read(key);
        if (record) store._write(key, { ...record, version: `${record.version}t` }, undefined);
        return extended;
      }),
  },
  {
    does: "saves the session with a touch",
    caughtBy: ["touch", "changes nothing but the expiry"],
    breakStore: store =>
      replace(store, "touch", () => (sid, session, last) => store.set(sid, { ...session }, last)),
  },
  {
    does: "ignores touches",
    caughtBy: ["touch", "prolongs a session"],
    breakStore: store => replace(store, "_extend", () => () => false),
  },
  {
    does: "keeps the old expiry in the cookie after a touch",
    caughtBy: ["touch", "shows its expiry in the cookie that get, all and entries return"],
    breakStore: store =>
      replace(store, "_extend", extend => (key, extension: Extension) => {
        const record = store._read(key);
        const end = record === undefined ? 0 : record.expiresAt - record.slack;
        return extend(key, { ...extension, slack: extension.expiresAt - end });
      }),
  },
  {
    does: "ends a session without the time for skipped touches",
    caughtBy: ["touchAfter", "keeps a session touchAfter longer than its cookie says, and no longer"],
    breakStore: store =>
      replace(
        store,
        "_write",
        write => (key, record, expected) =>
          write(key, { ...record, expiresAt: record.expiresAt - record.slack, slack: 0 }, expected),
      ),
  },
  {
    does: "forgets the prefix",
    caughtBy: ["prefixes", "keeps the sessions of a: and a:b: apart"],
    breakStore: store => {
      const unprefixed = (key: string) => key.slice(store.prefix.length);
      for (const method of keyed) {
        replace(
          store,
          method,
          original =>
            (key, ...rest) =>
              original(unprefixed(key), ...rest),
        );
      }
    },
  },
  {
    does: "lists what has a longer prefix",
    caughtBy: ["prefixes", "keeps the sessions of a: and a:b: apart"],
    breakStore: store =>
      replace(store, "ids", () => async () => {
        const own = [...store.records.keys()].filter(key => key.startsWith(store.prefix));
        return own.map(key => key.slice(store.prefix.length));
      }),
  },
  {
    does: "clears the sessions of other prefixes",
    caughtBy: ["prefixes", "keeps the sessions of app1 and app10 apart"],
    breakStore: store => replace(store, "clear", () => async () => store.records.clear()),
  },
  {
    does: "returns expired sessions",
    caughtBy: ["expiry", "ends a session to the millisecond at cookie.expires, be it in 5 ms"],
    breakStore: store =>
      replace(store, "_read", read => key => {
        const record: StoredRecord | undefined = read(key);
        return record && { ...record, expiresAt: record.expiresAt + YEARS_MS };
      }),
  },
  {
    does: "rounds expiries up to seconds",
    caughtBy: ["expiry", "ends a session to the millisecond at cookie.expires, be it in 5 ms"],
    breakStore: store =>
      replace(
        store,
        "_write",
        write => (key, record, expected) =>
          write(key, { ...record, expiresAt: Math.ceil(record.expiresAt / 1000) * 1000 }, expected),
      ),
  },
  {
    does: "lists expired sessions",
    caughtBy: ["all, ids, length, entries and clear", "lists no session that has expired or was destroyed"],
    breakStore: store =>
      replace(
        store,
        "_scan",
        scan =>
          async function* (start) {
            for await (const page of scan(start) as AsyncGenerator<ScannedRecord[]>) {
              yield page.map(({ key, record }) => ({
                key,
                record: { ...record, expiresAt: record.expiresAt + YEARS_MS },
              }));
            }
          },
      ),
  },
  {
    does: "removes a session as soon as it has expired",
    caughtBy: ["expiry", "lets a request that was running when its session lapsed still save it"],
    breakStore: store =>
      replace(store, "get", get => async sid => {
        const session = await get(sid);
        if (session === null) await store.destroy(sid);
        return session;
      }),
  },
  {
    does: "forgets when a session began",
    caughtBy: [
      "absoluteTimeout",
      "counts absoluteTimeout from the session's beginning, not from its last save or touch",
    ],
    breakStore: store =>
      replace(store, "_read", read => key => {
        const record: StoredRecord | undefined = read(key);
        return record && { ...record, createdAt: record.createdAt + YEARS_MS };
      }),
  },
  {
    does: "calls back twice",
    caughtBy: ["callbacks", "destroy calls back once, on a later tick, with what its promise gives"],
    breakStore: store =>
      replace(store, "destroy", destroy => (sid, last) => {
        if (typeof last !== "function") return destroy(sid, last);
        return destroy(sid, (error: unknown) => {
          last(error);
          last(error);
        });
      }),
  },
  {
    does: "calls back synchronously",
    caughtBy: ["callbacks", "get calls back with null, not with an error, for a session that does not exist"],
    breakStore: store =>
      replace(store, "get", get => (sid, last) => {
        if (typeof last !== "function" || store.records.size > 0) return get(sid, last);
        return last(null, null);
      }),
  },
  {
    does: "calls a callback that throws a second time, with its own exception",
    caughtBy: ["callbacks", "get does not call a callback again that throws"],
    breakStore: store =>
      replace(store, "get", get => (sid, last) => {
        if (typeof last !== "function") return get(sid, last);
        return get(sid)
          .then((session: unknown) => last(null, session))
          .catch(last);
      }),
  },
  {
    does: "throws instead of calling back",
    caughtBy: ["arguments", "destroy rejects a sid that is empty or not a string with a TypeError"],
    breakStore: store =>
      replace(store, "destroy", destroy => (sid, last) => {
        if (sid === "" && typeof last === "function") throw new TypeError("Expected `sid`");
        return destroy(sid, last);
      }),
  },
  {
    does: "shares one object between requests",
    caughtBy: ["get", "returns a new object each time, so that requests share nothing"],
    breakStore: store => {
      let shared: unknown;
      replace(store, "get", get => async sid => {
        shared ??= await get(sid);
        return shared;
      });
    },
  },
  {
    does: "takes sids that differ in case for the same",
    caughtBy: ["get", "finds sessions under sids of any characters, of 2,000 and more, and mixes none up"],
    breakStore: store => {
      for (const method of keyed) {
        replace(
          store,
          method,
          original =>
            (key, ...rest) =>
              original(key.toLowerCase(), ...rest),
        );
      }
    },
  },
  {
    does: "loses characters of the data",
    caughtBy: ["get", "uses the serializer of the options, and keeps every character of its text"],
    breakStore: store =>
      replace(
        store,
        "_write",
        write => (key, record, expected) =>
          write(key, { ...record, data: record.data.replaceAll("\0", "") }, expected),
      ),
  },
  {
    does: "cuts off what is too large",
    caughtBy: [
      "the size limit",
      "rejects a session beyond the limit with ERR_SESSION_TOO_LARGE, says the limit, and leaves the record",
    ],
    breakStore: store =>
      replace(
        store,
        "_write",
        write => (key, record, expected) =>
          write(key, { ...record, data: record.data.slice(0, MAX_SESSION_BYTES) }, expected),
      ),
  },
  {
    does: "destroys nothing",
    caughtBy: ["destroy", "removes a session"],
    breakStore: store => replace(store, "_remove", () => () => {}),
  },
  {
    does: "fails to destroy what does not exist",
    caughtBy: ["destroy", "succeeds for a session that does not exist, and a second time"],
    breakStore: store =>
      replace(store, "_remove", remove => key => {
        if (store._read(key) === undefined) throw new Error("Not found");
        remove(key);
      }),
  },
  {
    does: "lists only the first page",
    caughtBy: [
      "all, ids, length, entries and clear",
      "lists each of 300 sessions once, in all, ids, length and entries",
    ],
    breakStore: store =>
      replace(
        store,
        "_scan",
        scan =>
          async function* (start): AsyncGenerator<ScannedRecord[]> {
            for await (const page of scan(start)) {
              yield page;
              return;
            }
          },
      ),
  },
  {
    does: "pages by position, so that what comes and goes shifts the pages",
    caughtBy: [
      "all, ids, length, entries and clear",
      "lists what stays exactly once while other sessions come and go",
    ],
    breakStore: store =>
      replace(
        store,
        "_scan",
        () =>
          async function* (start: string) {
            for (let position = 0; position < store.records.size; position += PAGE_SIZE) {
              const keys = [...store.records.keys()].slice(position, position + PAGE_SIZE);
              yield keys
                .filter(key => key.startsWith(start))
                .map(key => ({ key, record: store._read(key) as StoredRecord }));
            }
          },
      ),
  },
  {
    does: "clears not everything",
    caughtBy: [
      "all, ids, length, entries and clear",
      "clears all of 300 sessions and can be used afterwards",
    ],
    breakStore: store =>
      replace(store, "_removeAll", removeAll => (keys: string[]) => removeAll(keys.slice(1))),
  },
  {
    does: "goes on working after close",
    caughtBy: ["close and ping", "everything fails with ERR_STORE_CLOSED after close"],
    breakStore: store => replace(store, "close", () => async () => {}),
  },
  {
    does: "ignores signals",
    caughtBy: [
      "signals and time limits",
      "get rejects with the reason of a signal that was aborted before, and does nothing",
    ],
    breakStore: store => replace(store, "get", get => sid => get(sid)),
  },
  {
    does: "says nothing of conflicts",
    caughtBy: [
      "sessions that changed",
      "a key that both changed takes the later save's value, and event conflict names it",
    ],
    breakStore: store => replace(store, "emit", () => () => false),
  },
  {
    does: "shows sids in its events",
    caughtBy: [
      "sessions that are gone",
      "event conflict says that the session is gone, and does not show its sid",
    ],
    breakStore: store =>
      replace(store, "emit", emit => (name, event) => emit(name, { ...event, sidHash: "sid-secret" })),
  },
  {
    does: 'takes an outage for "no session"',
    caughtBy: ["outages", 'get fails with the code of an outage, and never takes it for "no session"'],
    breakStore: store => replace(store, "_read", read => key => (store.down ? undefined : read(key))),
  },
  {
    does: "lets ENOENT out of get",
    caughtBy: ["outages", 'get fails with the code of an outage, and never takes it for "no session"'],
    breakStore: store =>
      replace(
        store,
        "get",
        get => sid => get(sid).catch(() => Promise.reject(Object.assign(new Error(), { code: "ENOENT" }))),
      ),
  },
  {
    does: "removes records that it cannot read",
    caughtBy: [
      "foreign records",
      "what is no record of this store under a sid is absent, reported, and stays in place",
    ],
    breakStore: store =>
      replace(store, "_read", read => key => {
        const record = read(key);
        if (record === UNREADABLE) store._remove(key);
        return record;
      }),
  },
  {
    does: "fails at records that it cannot read",
    caughtBy: [
      "foreign records",
      "what is no record of this store under a sid is absent, reported, and stays in place",
    ],
    breakStore: store =>
      replace(store, "_read", read => key => {
        const record = read(key);
        if (record === UNREADABLE) throw new SyntaxError("Unexpected token");
        return record;
      }),
  },
];
