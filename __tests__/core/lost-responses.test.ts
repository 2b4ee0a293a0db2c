import { eventsOf } from "../../lib/conformance/observe.js";
import { find, load, plain, requestSession } from "../../lib/conformance/sessions.js";
import type { StoreOptions } from "../../lib/index.js";
import { ScriptedStore } from "../helpers/stores/scripted-store.js";

const open = (options: StoreOptions = {}) => new ScriptedStore(options);

describe("a write whose response is lost", () => {
  /** Writes, and then fails as if the response were lost. */
  const loseResponse = (store: ScriptedStore) => {
    store.script._write = async (key, write) => {
      store.script = {};
      store.write(key, write);
      throw new Error("connection reset");
    };
  };
  /** A client that sends each write twice and receives the response to the second attempt. */
  const sendTwice = (store: ScriptedStore, between = async () => {}) => {
    store.script._write = async (key, write) => {
      store.script = {};
      store.write(key, write);
      await between();
      return { ...store.write(key, write), retried: true };
    };
  };

  it("is recognized by the next save of the same session", async () => {
    const store = open();
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    session.views = 2;
    loseResponse(store);
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    session.views = 3;
    await store.set("sid", session);
    expect(await store.get("sid")).toMatchObject({ views: 3 });
    expect(await conflicts()).toEqual([]);
  });

  it("is recognized with conflict: error", async () => {
    const store = open({ conflict: "error" });
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    loseResponse(store);
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    await expect(store.set("sid", session)).resolves.toBeUndefined();
  });

  it("is recognized by its own second attempt", async () => {
    const store = open();
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    sendTwice(store);
    session.views = 2;
    await store.set("sid", session);
    session.views = 3;
    await store.set("sid", session);
    expect(await store.get("sid")).toMatchObject({ views: 3 });
    expect(await conflicts()).toEqual([]);
  });

  it("is not applied again over what another request built on it", async () => {
    const store = open();
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    session.views = 2;
    const elsewhere = new ScriptedStore({}, store.records);
    sendTwice(store, async () => {
      const other = await find(elsewhere, "sid");
      await elsewhere.set("sid", Object.assign(other, { views: (other.views as number) + 1 }));
    });
    await store.set("sid", session);
    expect(await store.get("sid")).toMatchObject({ views: 3 });
  });

  it("is no conflict if it timed out and arrived late", async () => {
    const store = open({ timeoutMs: 20 });
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    session.views = 2;
    let arrive = () => {};
    store.script._write = (key, write) =>
      new Promise(resolve => {
        arrive = () => resolve(store.write(key, write));
      });
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
    arrive();
    store.script = {};
    session.views = 3;
    await store.set("sid", session);
    expect(await store.get("sid")).toMatchObject({ views: 3 });
    expect(await conflicts()).toEqual([]);
  });

  it("loses nothing that others saved, if it was a merge and the next write fails too", async () => {
    const store = open();
    await store.set("sid", plain());
    const [session, other] = [await load(store, "sid"), await load(store, "sid")];
    await store.set("sid", Object.assign(other, { theirs: 1 }));
    session.mine = 1;
    let accepted = 0;
    store.script._write = async (key, write) => {
      const result = store.write(key, write);
      if (!result.written) return result;
      accepted += 1;
      throw new Error("connection reset");
    };
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    // The merged session was written. The next save detects that, and fails before it writes.
    const before = store.records.get("sess:sid");
    store.script._write = async (key, write) => {
      const result = store.write(key, write);
      if (!result.written) return result;
      store.records.set(key, before as never);
      throw new Error("connection reset");
    };
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    store.script = {};
    await store.set("sid", session);
    expect(accepted).toBe(1);
    expect(await store.get("sid")).toMatchObject({ mine: 1, theirs: 1 });
  });

  it("is recognized if it was the first of a new session: others' changes and its end stay", async () => {
    const store = open();
    const conflicts = eventsOf(store, "conflict");
    const fresh = async (sid: string) => {
      const session = requestSession(store, sid, plain({ user: "ann" }));
      loseResponse(store);
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

  it("does not bring back a new session that was destroyed, however late it arrives", async () => {
    const store = open({ timeoutMs: 20 });
    const session = requestSession(store, "sid", plain({ user: "ann" }));
    const late: (() => void)[] = [];
    store.script._write = (key, write) =>
      new Promise(resolve => {
        late.push(() => resolve(store.write(key, write)));
      });
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
    store.script = {};
    await store.destroy("sid");
    for (const arrive of late) arrive();
    expect(await store.get("sid")).toBeNull();
    await store.set("sid", session);
    expect(await store.get("sid")).toBeNull();
  });

  it("is followed by no other round of a save that timed out", async () => {
    const store = open({ timeoutMs: 20 });
    await store.set("sid", plain({ views: 1 }));
    const session = await load(store, "sid");
    const other = await load(store, "sid");
    other.theirs = 1;
    await store.set("sid", other);
    let reject = () => {};
    store.script._write = (key, write) =>
      new Promise(resolve => {
        reject = () => resolve(store.write(key, write));
      });
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
    store.takeCalls();
    reject();
    await new Promise(resolve => setImmediate(resolve));
    expect(store.calls).toEqual([]);
  });
});

describe("a removal whose response is lost", () => {
  it("does not destroy a session that was created after it, however late it is repeated", async () => {
    const store = open();
    await store.set("sid", plain({ user: "ann" }));
    const late: (() => void)[] = [];
    store.script._remove = async (key, removal) => {
      store.script = {};
      late.push(() => store.remove(key, removal));
      store.remove(key, removal);
    };
    await store.destroy("sid");
    const session = requestSession(store, "sid", plain({ user: "ben" }));
    await store.set("sid", session);
    for (const repeat of late) repeat();
    expect(await store.get("sid")).toMatchObject({ user: "ben" });
    await store.set("sid", Object.assign(session, { views: 1 }));
    for (const repeat of late) repeat();
    expect(await store.get("sid")).toMatchObject({ user: "ben", views: 1 });
  });
});
