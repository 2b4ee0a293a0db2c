import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { eventsOf } from "../lib/conformance/observe.js";
import { load, plain, requestSession } from "../lib/conformance/sessions.js";
import {
  AbstractStore,
  type Awaitable,
  type Expected,
  type Extension,
  isExpected,
  type Operation,
  type ScannedRecord,
  type StoredRecord,
  StoreError,
  type StoreOptions,
  type WriteResult,
} from "../lib/index.js";

/** A backend that does as a test tells it: each primitive can be replaced, and counts its calls. */
class ScriptedStore extends AbstractStore {
  readonly records = new Map<string, StoredRecord>();
  readonly calls: string[] = [];
  script: Partial<Pick<ScriptedStore, "_read" | "_write" | "_extend" | "_remove" | "_scan">> = {};

  constructor(options: StoreOptions = {}) {
    super({ touchAfter: 0, ...options });
  }

  reportTwice(): void {
    for (const reason of ["one", "other"]) this._reportError(new Error(reason));
  }

  override _read(key: string, operation: Operation): Awaitable<StoredRecord | undefined> {
    this.calls.push("read");
    return this.script._read ? this.script._read(key, operation) : this.records.get(key);
  }

  override _write(
    key: string,
    record: StoredRecord,
    expected: Expected | undefined,
    operation: Operation,
  ): Awaitable<WriteResult> {
    this.calls.push("write");
    return this.script._write
      ? this.script._write(key, record, expected, operation)
      : this.write(key, record, expected);
  }

  override _extend(
    key: string,
    extension: Extension,
    seen: StoredRecord | undefined,
    operation: Operation,
  ): Awaitable<boolean> {
    this.calls.push("extend");
    return this.script._extend ? this.script._extend(key, extension, seen, operation) : true;
  }

  override _remove(key: string, operation: Operation): Awaitable<void> {
    this.calls.push("remove");
    if (this.script._remove) return this.script._remove(key, operation);
    this.records.delete(key);
  }

  override async *_scan(start: string, operation: () => Operation): AsyncGenerator<ScannedRecord[]> {
    if (this.script._scan) yield* this.script._scan(start, operation) as AsyncGenerator<ScannedRecord[]>;
    else yield [...this.records].map(([key, record]) => ({ key, record }));
  }

  write(key: string, record: StoredRecord, expected: Expected | undefined): WriteResult {
    const current = this.records.get(key);
    if (!isExpected(current, expected)) return { written: false, current };
    this.records.set(key, record);
    return { written: true };
  }
}

function never(): Promise<never> {
  return new Promise(() => {});
}

const stores: ScriptedStore[] = [];
function open(options: StoreOptions = {}) {
  const store = new ScriptedStore(options);
  stores.push(store);
  return store;
}
afterEach(() => {
  stores.length = 0;
});

describe("errors of a backend", () => {
  const causes: [string, unknown][] = [
    ["an Error", new Error("down")],
    [
      "an error with the code ENOENT, which express-session takes for no session",
      Object.assign(new Error(), { code: "ENOENT" }),
    ],
    ["a string", "down"],
    ["undefined", undefined],
  ];

  it.each(causes)("become ERR_STORE_UNAVAILABLE with the original as cause: %s", async (_name, cause) => {
    const store = open();
    store.script._read = () => Promise.reject(cause);
    await expect(store.get("sid")).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE", cause });
    store.script._read = () => {
      throw cause;
    };
    await expect(store.get("sid")).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE", cause });
  });

  it("pass as they are if they have a code of the stores", async () => {
    const store = open();
    const error = new StoreError("ERR_SESSION_TOO_LARGE", "too large");
    store.script._write = () => {
      throw error;
    };
    await expect(store.set("sid", plain())).rejects.toBe(error);
  });

  it("reach a listing, whichever page they come with", async () => {
    const store = open();
    store.script._scan = async function* () {
      yield [];
      throw new Error("down");
    };
    for (const method of ["all", "ids", "length", "clear"] as const) {
      await expect(store[method]()).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    }
    await expect(store.entries().next()).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
  });

  it("do not end the process if nobody awaits the promise", async () => {
    const store = open();
    store.script._remove = () => Promise.reject(new Error("down"));
    const unhandled = jest.fn();
    process.on("unhandledRejection", unhandled);
    void store.destroy("sid");
    // As Session#destroy() without a callback does it.
    void store.destroy("sid", undefined);
    await new Promise(resolve => setImmediate(resolve));
    process.off("unhandledRejection", unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });
});

describe("an asynchronous serializer that fails", () => {
  const unhandled = jest.fn();
  const serializer = { stringify: () => Promise.reject(new Error("no key")), parse: JSON.parse };
  beforeEach(() => {
    unhandled.mockClear();
    process.on("unhandledRejection", unhandled);
  });
  afterEach(async () => {
    await new Promise(resolve => setImmediate(resolve));
    process.off("unhandledRejection", unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });

  it("fails a save that waits for another of its session, and nothing else", async () => {
    const store = open({ serializer });
    let removed = () => {};
    store.script._remove = () =>
      new Promise(resolve => {
        removed = resolve;
      });
    const removal = store.destroy("sid");
    const save = store.set("sid", plain());
    await new Promise(resolve => setImmediate(resolve));
    removed();
    await removal;
    await expect(save).rejects.toMatchObject({ code: "ERR_SESSION_SERIALIZE" });
  });

  it("fails a save that is refused for something else, too", async () => {
    const store = open({ serializer, ttl: () => Number.NaN });
    await expect(store.set("sid", plain())).rejects.toThrow("ttl(session)");
  });
});

describe("a backend that does not answer", () => {
  it.each(["get", "destroy", "ping"] as const)(
    "ends %s with ERR_STORE_TIMEOUT, and aborts its signal",
    async method => {
      const store = open({ timeoutMs: 20 });
      let signal: AbortSignal | undefined;
      const hang = (_key: string, operation: Operation) => {
        signal = operation.signal;
        return never();
      };
      store.script = { _read: hang, _remove: hang };
      await expect(method === "ping" ? store.ping() : store[method]("sid")).rejects.toMatchObject({
        code: "ERR_STORE_TIMEOUT",
        message: expect.stringContaining("20 ms"),
      });
      expect(signal?.aborted).toBe(true);
    },
  );

  it.each(["all", "ids", "length", "clear"] as const)("ends %s within the time of a page", async method => {
    const store = open({ timeoutMs: 20 });
    // biome-ignore lint/correctness/useYield: it never gets that far
    store.script._scan = async function* () {
      await never();
    };
    await expect(store[method]()).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
  });

  it("does not time out a listing of many pages that each come in time", async () => {
    const store = open({ timeoutMs: 60 });
    store.script._scan = async function* () {
      for (let page = 0; page < 8; page++) {
        await new Promise(resolve => setTimeout(resolve, 15));
        yield [];
      }
    };
    await expect(store.length()).resolves.toBe(0);
  });

  it("rejects with the caller's reason when its signal is aborted, and aborts the backend's", async () => {
    const store = open();
    let signal: AbortSignal | undefined;
    store.script._read = (_key, operation) => {
      signal = operation.signal;
      return never();
    };
    const controller = new AbortController();
    const getting = store.get("sid", { signal: controller.signal });
    controller.abort(new Error("the client left"));
    await expect(getting).rejects.toThrow("the client left");
    expect(signal?.aborted).toBe(true);
  });

  it("leaves no timer behind that keeps the process", async () => {
    const store = open({ timeoutMs: 60_000 });
    store.script._read = async () => undefined;
    const cleared = jest.spyOn(globalThis, "clearTimeout");
    await store.get("sid");
    expect(cleared).toHaveBeenCalled();
    cleared.mockRestore();
  });
});

describe("a write whose answer is lost", () => {
  /** Writes, and then fails as if the answer had not come. */
  const loseAnswer = (store: ScriptedStore) => {
    store.script._write = async (key, record, expected) => {
      store.script = {};
      store.write(key, record, expected);
      throw new Error("connection reset");
    };
  };

  it("is known for this session's own by its next save", async () => {
    const store = open();
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    session.views = 2;
    loseAnswer(store);
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    session.views = 3;
    await store.set("sid", session);
    expect(await store.get("sid")).toMatchObject({ views: 3 });
    expect(await conflicts()).toEqual([]);
  });

  it("is known for its own with conflict: error", async () => {
    const store = open({ conflict: "error" });
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    loseAnswer(store);
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    await expect(store.set("sid", session)).resolves.toBeUndefined();
  });

  it("is known for its own when the client sends it again and meets its own first attempt", async () => {
    const store = open();
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    store.script._write = (key, record, expected) => {
      store.write(key, record, expected);
      return store.write(key, record, expected);
    };
    session.views = 2;
    await store.set("sid", session);
    session.views = 3;
    await store.set("sid", session);
    expect(await store.get("sid")).toMatchObject({ views: 3 });
    expect(await conflicts()).toEqual([]);
  });

  it("that timed out and landed late is no conflict either", async () => {
    const store = open({ timeoutMs: 20 });
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    session.views = 2;
    let land = () => {};
    store.script._write = (key, record, expected) =>
      new Promise(resolve => {
        land = () => resolve(store.write(key, record, expected));
      });
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
    land();
    store.script = {};
    session.views = 3;
    await store.set("sid", session);
    expect(await store.get("sid")).toMatchObject({ views: 3 });
    expect(await conflicts()).toEqual([]);
  });

  it("of a merge, and then another that failed, loses nothing of what others saved", async () => {
    const store = open();
    await store.set("sid", plain());
    const [session, other] = [await load(store, "sid"), await load(store, "sid")];
    await store.set("sid", Object.assign(other, { theirs: 1 }));
    session.mine = 1;
    let writes = 0;
    store.script._write = async (key, record, expected) => {
      writes += 1;
      const result = store.write(key, record, expected);
      if (result.written) throw new Error("connection reset");
      return result;
    };
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    // The merged one was written; the next finds that, and does not get through.
    store.script._write = async (key, record, expected) => {
      if (expected?.version === store.records.get(key)?.version) throw new Error("connection reset");
      return store.write(key, record, expected);
    };
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    store.script = {};
    await store.set("sid", session);
    expect(writes).toBe(2);
    expect(await store.get("sid")).toMatchObject({ mine: 1, theirs: 1 });
  });

  it("of a new session, too, is known for its own: others' changes stay, and its end", async () => {
    const store = open();
    const conflicts = eventsOf(store, "conflict");
    const fresh = async (sid: string) => {
      const session = requestSession(store, sid, plain({ user: "ann" }));
      loseAnswer(store);
      await expect(store.set(sid, session)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
      return session;
    };
    const changed = await fresh("changed");
    await store.set("changed", Object.assign(await load(store, "changed"), { theirs: 1 }));
    await store.set("changed", Object.assign(changed, { mine: 1 }));
    expect(await store.get("changed")).toMatchObject({ user: "ann", mine: 1, theirs: 1 });
    expect(await conflicts()).toMatchObject([{ reason: "merged" }]);
    const unchanged = await fresh("unchanged");
    await store.set("unchanged", Object.assign(unchanged, { mine: 1 }));
    expect(await store.get("unchanged")).toMatchObject({ user: "ann", mine: 1 });
    await store.destroy("unchanged");
    await store.set("unchanged", Object.assign(unchanged, { mine: 2 }));
    expect(await store.get("unchanged")).toBeNull();
    expect(await conflicts()).toMatchObject([{ reason: "merged" }, { reason: "gone" }]);
  });

  it("that timed out is not followed by another round of the same save", async () => {
    const store = open({ timeoutMs: 20 });
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    const other = await load(store, "sid");
    other.theirs = 1;
    await store.set("sid", other);
    let refuse = () => {};
    store.script._write = (key, record, expected) =>
      new Promise(resolve => {
        refuse = () => resolve(store.write(key, record, expected));
      });
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
    store.calls.length = 0;
    refuse();
    await new Promise(resolve => setImmediate(resolve));
    expect(store.calls).toEqual([]);
  });
});

describe("what an operation costs", () => {
  it("is one call of the backend", async () => {
    const store = open();
    await store.set("sid", plain());
    const session = await load(store, "sid");
    await store.set("sid", session);
    session.cookie.expires = new Date(Date.now() + 48 * 3600_000);
    await store.touch("sid", session);
    await store.destroy("sid");
    expect(store.calls).toEqual(["write", "read", "write", "extend", "remove"]);
  });

  it("is one write each for twenty saves of one session at once, and keeps all their changes", async () => {
    const store = open();
    await store.set("sid", plain());
    const sessions = await Promise.all(Array.from({ length: 20 }, () => load(store, "sid")));
    store.calls.length = 0;
    store.script._write = async (key, record, expected) => store.write(key, record, expected);
    await Promise.all(
      sessions.map((session, index) => store.set("sid", Object.assign(session, { [`key${index}`]: index }))),
    );
    expect(store.calls).toEqual(Array(20).fill("write"));
    const saved = await store.get("sid");
    for (let index = 0; index < 20; index++) expect(saved).toHaveProperty(`key${index}`, index);
  });

  it("leaves nothing behind of a save that has ended", async () => {
    const store = open({ timeoutMs: 20 });
    store.script._write = never;
    await expect(store.set("sid", plain())).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
    store.script = {};
    await store.set("sid", plain({ views: 1 }));
    expect(await store.get("sid")).toMatchObject({ views: 1 });
  });

  it("is none for a touch that would move the expiry by less than touchAfter", async () => {
    let now = Date.now();
    const store = open({ touchAfter: 60, now: () => now });
    const expiring = () => ({ originalMaxAge: 3600_000, expires: new Date(now + 3600_000) });
    await store.set("sid", { cookie: expiring() } as never);
    for (let view = 0; view < 1000; view++) {
      now += 59;
      const session = await load(store, "sid");
      Object.assign(session.cookie, expiring());
      await store.touch("sid", session);
    }
    expect(store.calls.filter(call => call === "extend")).toEqual([]);
  });

  it("is none for a touch with disableTouch", async () => {
    const store = new ScriptedStore({ disableTouch: true, touchAfter: undefined });
    await store.set("sid", plain());
    await store.touch("sid", plain());
    expect(store.calls).toEqual(["write"]);
  });
});

describe("close", () => {
  it("waits for the operations under way", async () => {
    const store = open();
    let answer = (_record: undefined) => {};
    store.script._read = () =>
      new Promise(resolve => {
        answer = resolve;
      });
    const order: string[] = [];
    const getting = store.get("sid").then(() => order.push("get"));
    const closing = store.close().then(() => order.push("close"));
    answer(undefined);
    await Promise.all([getting, closing]);
    expect(order).toEqual(["get", "close"]);
  });
});

describe("a removal", () => {
  it("that was given up while it waited for a save is not done", async () => {
    const store = open();
    let written = () => {};
    store.script._write = (key, record, expected) =>
      new Promise(resolve => {
        written = () => resolve(store.write(key, record, expected));
      });
    const save = store.set("sid", plain());
    const controller = new AbortController();
    const removal = store.destroy("sid", { signal: controller.signal });
    controller.abort(new Error("the client left"));
    await expect(removal).rejects.toThrow("the client left");
    written();
    await save;
    await new Promise(resolve => setImmediate(resolve));
    expect(store.calls).toEqual(["write"]);
    expect(await store.get("sid")).not.toBeNull();
  });
});

describe("entries", () => {
  it("end as soon as their signal is aborted, also within a page", async () => {
    const store = open();
    for (let index = 0; index < 10; index++) await store.set(`sid-${index}`, plain());
    const controller = new AbortController();
    const seen: string[] = [];
    const list = async () => {
      for await (const [sid] of store.entries({ signal: controller.signal })) {
        seen.push(sid);
        if (seen.length === 3) controller.abort(new Error("enough"));
      }
    };
    await expect(list()).rejects.toThrow("enough");
    expect(seen).toHaveLength(3);
  });

  it("leave out what expires while they are gone through", async () => {
    let now = Date.now();
    const store = open({ now: () => now });
    for (let index = 0; index < 10; index++) {
      await store.set(`sid-${index}`, plain({}, new Date(now + (index < 5 ? 1000 : 9000))));
    }
    const seen: string[] = [];
    for await (const [sid] of store.entries()) {
      seen.push(sid);
      now += 500;
    }
    expect(seen).toEqual(["sid-0", "sid-1", "sid-5", "sid-6", "sid-7", "sid-8", "sid-9"]);
  });
});

describe("events", () => {
  it("error, twice at once, does not end the process when only the first is listened to", async () => {
    const store = open();
    const uncaught = jest.fn();
    process.on("uncaughtException", uncaught);
    const heard = jest.fn();
    store.once("error", heard);
    store.reportTwice();
    await new Promise(resolve => setImmediate(resolve));
    process.off("uncaughtException", uncaught);
    expect(heard).toHaveBeenCalledTimes(1);
    expect(uncaught).not.toHaveBeenCalled();
  });

  it("whose listener throws do not fail the operation", async () => {
    // In a process of its own: what a listener throws is an uncaught exception.
    const script = `
      const { MemoryStore } = require("express-session-stores/memory");
      const store = new MemoryStore();
      store.on("conflict", () => { throw new Error("listener"); });
      process.on("uncaughtException", error => console.log("uncaught", error.message));
      (async () => {
        await store.set("sid", { cookie: {} });
        const session = await store.get("sid");
        await store.destroy("sid");
        await store.set("sid", session);
        console.log("saved");
      })();`;
    const { stdout } = await promisify(execFile)(process.execPath, ["-e", script]);
    expect(stdout.split("\n").sort()).toEqual(["", "saved", "uncaught listener"]);
  });

  it("never show a sid", async () => {
    const store = open({ serializer: { stringify: JSON.stringify, parse: text => JSON.parse(`${text}!`) } });
    const events: unknown[] = [];
    store.on("corrupt", event => events.push(event));
    await store.set("a-secret-sid", plain());
    expect(await store.get("a-secret-sid")).toBeNull();
    expect(await store.all()).toEqual([]);
    await new Promise(resolve => setImmediate(resolve));
    expect(events).toHaveLength(2);
    expect(JSON.stringify(events)).not.toContain("a-secret-sid");
  });
});

describe("session ids", () => {
  it("are in no message", async () => {
    const store = open({ timeoutMs: 20, conflict: "error" });
    const sid = "a-secret-sid";
    const errors: Error[] = [];
    const collect = (error: Error) => errors.push(error);
    await store.set(sid, plain());
    const [one, other] = [await load(store, sid), await load(store, sid)];
    await store.set(sid, Object.assign(one, { changed: 1 }));
    await store.set(sid, Object.assign(other, { changed: 2 })).catch(collect);
    await store.set(sid, plain({ big: 1n })).catch(collect);
    store.script._read = never;
    await store.get(sid).catch(collect);
    store.script._read = () => Promise.reject(new Error("down"));
    await store.get(sid).catch(collect);
    await store.close();
    await store.get(sid).catch(collect);
    expect(errors.map(error => (error as StoreError).code)).toEqual([
      "ERR_SESSION_CONFLICT",
      "ERR_SESSION_SERIALIZE",
      "ERR_STORE_TIMEOUT",
      "ERR_STORE_UNAVAILABLE",
      "ERR_STORE_CLOSED",
    ]);
    for (const { message, stack } of errors) expect(message + stack).not.toContain(sid);
  });
});
