import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { Clock } from "../../lib/conformance/clock.js";
import { load, plain, requestSession } from "../../lib/conformance/sessions.js";
import type { RecordWrite, StoreError, StoreOptions } from "../../lib/index.js";
import { never, ScriptedStore } from "../helpers/stores/scripted-store.js";

const open = (options: StoreOptions = {}) => new ScriptedStore(options);

describe("the cost", () => {
  it("of each operation is one call of the backend", async () => {
    const clock = new Clock();
    const store = open({ now: clock.now });
    await store.set("sid", plain());
    const session = await load(store, "sid");
    await store.set("sid", session);
    clock.advance(1);
    await store.touch("sid", session);
    await store.destroy("sid");
    expect(store.calls).toEqual(["write", "read", "write", "touch", "remove"]);
  });

  it("of twenty parallel saves of one session is one write each, and all their changes stay", async () => {
    const store = open();
    await store.set("sid", plain());
    const sessions = await Promise.all(Array.from({ length: 20 }, () => load(store, "sid")));
    store.takeCalls();
    store.script._write = async (key, write) => store.write(key, write);
    await Promise.all(
      sessions.map((session, index) => store.set("sid", Object.assign(session, { [`key${index}`]: index }))),
    );
    expect(store.calls).toEqual(Array(20).fill("write"));
    const saved = await store.get("sid");
    for (let index = 0; index < 20; index++) expect(saved).toHaveProperty(`key${index}`, index);
  });

  it("of a save that timed out is over: the next one does not wait for it", async () => {
    const store = open({ timeoutMs: 20 });
    store.script._write = never;
    await expect(store.set("sid", plain())).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
    store.script = {};
    await store.set("sid", plain({ views: 1 }));
    expect(await store.get("sid")).toMatchObject({ views: 1 });
  });

  it("of a touch that would move the last use by less than touchAfter is none", async () => {
    const clock = new Clock();
    const store = open({ touchAfter: 60, now: clock.now });
    await store.set("sid", plain());
    for (let view = 0; view < 1000; view++) {
      clock.advance(0.059);
      await store.touch("sid", await load(store, "sid"));
    }
    expect(store.touches).toEqual([]);
    clock.advance(1);
    await store.touch("sid", await load(store, "sid"));
    expect(store.touches).toHaveLength(1);
  });

  it("of a touch with disableTouch is none", async () => {
    const store = open({ disableTouch: true });
    await store.set("sid", plain());
    await store.touch("sid", plain());
    expect(store.calls).toEqual(["write"]);
  });
});

describe("a save", () => {
  it("takes what an earlier save of this process stored for no newer than what its session was loaded from", async () => {
    const store = open();
    const elsewhere = new ScriptedStore({}, store.records);
    await store.set("sid", plain());
    const first = await load(store, "sid");
    const waiting: (() => void)[] = [];
    store.script._write = (key, write) =>
      new Promise(resolve => {
        const result = store.write(key, write);
        waiting.push(() => resolve(result));
      });
    // Another process saves on top of the first save before the store has processed that save's response.
    const saving = store.set("sid", Object.assign(first, { first: 1 }));
    await elsewhere.set("sid", Object.assign(await load(elsewhere, "sid"), { theirs: 1 }));
    const second = await load(store, "sid");
    const queued = store.set("sid", Object.assign(second, { second: 1 }));
    store.script = {};
    for (const resume of waiting) resume();
    await Promise.all([saving, queued]);
    expect(await store.get("sid")).toMatchObject({ first: 1, theirs: 1, second: 1 });
  });
});

describe("the end of a session that a request asks for", () => {
  const maxAgeOfZero = (session: { cookie: { maxAge?: unknown } }) => {
    session.cookie.maxAge = 0;
  };
  const pastExpiry = (session: { cookie: { expires?: unknown } }) => {
    session.cookie.expires = new Date(Date.now() - 60_000);
  };

  describe.each([
    ["a maxAge of 0", maxAgeOfZero],
    ["an expiry in the past", pastExpiry],
  ])("by %s", (_name, askForEnd) => {
    it("is a logout: no request that loaded the session before brings it back", async () => {
      const store = open();
      await store.set("sid", plain({ user: "ann" }));
      const [session, other] = [await load(store, "sid"), await load(store, "sid")];
      askForEnd(session as never);
      await store.set("sid", session);
      expect(await store.get("sid")).toBeNull();
      await store.set("sid", Object.assign(other, { views: 1 }));
      await store.set("sid", Object.assign(session, { views: 1 }));
      expect(await store.get("sid")).toBeNull();
    });

    it("does not end another session that was created under its id since", async () => {
      const store = open();
      await store.set("sid", plain({ user: "ann" }));
      const session = await load(store, "sid");
      await store.destroy("sid");
      await store.set("sid", plain({ user: "ben" }));
      askForEnd(session as never);
      await store.set("sid", session);
      expect(await store.get("sid")).toMatchObject({ user: "ben" });
    });

    it("takes place although others changed the session, unless conflict is error", async () => {
      for (const conflict of ["merge", "overwrite", "error"] as const) {
        const store = open({ conflict });
        await store.set("sid", plain());
        const [session, other] = [await load(store, "sid"), await load(store, "sid")];
        await store.set("sid", Object.assign(other, { theirs: 1 }));
        askForEnd(session as never);
        const saving = store.set("sid", session);
        if (conflict === "error")
          await expect(saving).rejects.toMatchObject({ code: "ERR_SESSION_CONFLICT" });
        else await saving;
        expect((await store.get("sid")) === null).toBe(conflict !== "error");
      }
    });

    it("takes place once if the client sends it twice, and its repetition ends no other session", async () => {
      const store = open();
      await store.set("sid", plain());
      const session = await load(store, "sid");
      const late: RecordWrite[] = [];
      store.script._write = async (key, write) => {
        store.script = {};
        late.push(write);
        store.write(key, write);
        return { ...store.write(key, write), retried: true };
      };
      askForEnd(session as never);
      await store.set("sid", session);
      await store.set("sid", requestSession(store, "sid", plain({ user: "ben" })));
      for (const write of late) store.write("sess:sid", write);
      expect(await store.get("sid")).toMatchObject({ user: "ben" });
    });
  });
});

describe("close", () => {
  it("waits for the operations in flight", async () => {
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
  it("is not sent if it was cancelled while it waited for a save", async () => {
    const store = open();
    let written = () => {};
    store.script._write = (key, write) =>
      new Promise(resolve => {
        written = () => resolve(store.write(key, write));
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
  it("end when their signal is aborted, also within a page", async () => {
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

  it("leave out sessions that end during the iteration", async () => {
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
    // In a separate process, because an error of a listener is an uncaught exception.
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
