import { randomBytes } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import session from "express-session";
import { Clock } from "../../lib/conformance/clock.js";
import { find, lasting, load, plain } from "../../lib/conformance/sessions.js";
import { type AbstractStore, StoreError, type StoreOptions, UNREADABLE } from "../../lib/index.js";
import { MemoryStore } from "../../lib/memory.js";
import { type CopyOptions, type CopyProgress, copy, type SourceItem } from "../../lib/migrate.js";
import { backends, useBackend } from "../helpers/stores/backends.js";
import { ScriptedStore } from "../helpers/stores/scripted-store.js";

const MINUTE = 60;
const SECRET = randomBytes(32);

let clock: Clock;
beforeEach(() => {
  clock = new Clock();
});
afterEach(() => {
  jest.useRealTimers();
});

const memory = (options: StoreOptions = {}) => new MemoryStore({ now: clock.now, ...options });
const scripted = (options: StoreOptions = {}) => new ScriptedStore({ now: clock.now, ...options });

const counts = ({ errors: _errors, ...progress }: CopyProgress) => progress;
const NOTHING = { seen: 0, copied: 0, present: 0, ended: 0, skipped: 0, failed: 0, different: 0 };

/** Items like those of a reader. */
const items = (count: number): SourceItem[] =>
  Array.from({ length: count }, (_, index) => ({ sid: `sid-${index}`, session: plain({ index }) }));

describe.each(backends)("from a store on $name", source => {
  const openSource = useBackend(source);

  describe.each(backends)("to one on $name", target => {
    const openTarget = useBackend(target);

    it("each session arrives whole, with its age and what is left of its time", async () => {
      const from = openSource({ now: clock.now, touchAfter: 0 });
      const to = openTarget({ now: clock.now, touchAfter: 0, absoluteTimeout: 60 * MINUTE });
      const long = "é/".repeat(2000);
      await from.set("old", lasting(20 * MINUTE, clock, { nested: { list: [1, "two", null] } }));
      await from.set(long, plain({ long: true }));
      await from.set("short", lasting(5 * MINUTE, clock));
      clock.advance(10 * MINUTE);
      await from.touch("old", await load(from, "old"));
      await from.destroy("short");

      expect(counts(await copy({ from, to, verify: true }))).toEqual({ ...NOTHING, seen: 2, copied: 2 });
      expect(await find(to, "old")).toEqual(await find(from, "old"));
      expect(await find(to, "old")).toMatchObject({ nested: { list: [1, "two", null] } });
      expect(await find(to, long)).toMatchObject({ long: true });
      expect(await to.get("short")).toBeNull();
      // Used ten minutes ago at the latest.
      clock.advance(19 * MINUTE);
      expect(await find(to, "old")).not.toBeNull();
      await to.touch("old", await load(to, "old"));
      clock.advance(2 * MINUTE);
      expect(await find(to, "old")).not.toBeNull();
      // Created 31 minutes ago, because the copy does not restart its absolute timeout.
      await to.touch("old", await load(to, "old"));
      clock.advance(15 * MINUTE);
      await to.touch("old", await load(to, "old"));
      clock.advance(13 * MINUTE);
      await to.touch("old", await load(to, "old"));
      clock.advance(2 * MINUTE);
      expect(await to.get("old")).toBeNull();
    });

    it("what is there, or was destroyed there, stays as it is", async () => {
      const from = openSource();
      const to = openTarget();
      for (const sid of ["changed", "destroyed", "new"]) await from.set(sid, plain({ from: true }));
      await to.set("changed", plain({ to: true }));
      await to.set("destroyed", plain());
      await to.destroy("destroyed");
      expect(counts(await copy({ from, to, verify: true }))).toEqual({
        ...NOTHING,
        seen: 3,
        copied: 1,
        present: 2,
        different: 1,
      });
      expect(await find(to, "changed")).toMatchObject({ to: true });
      expect(await to.get("destroyed")).toBeNull();
      expect(counts(await copy({ from, to }))).toEqual({ ...NOTHING, seen: 3, present: 3 });
    });
  });
});

describe.each(backends.filter(({ hasUsers }) => hasUsers))("on $name", backend => {
  const open = useBackend(backend);

  it("a copied session is listed for its user and keeps its handle", async () => {
    const options = { user: (data: object) => (data as { user?: string }).user };
    const from = open({ ...options, prefix: "a:" });
    const to = open({ ...options, prefix: "b:", maxSessionsPerUser: { max: 1 } });
    for (const sid of ["one", "two"]) await from.set(sid, plain({ user: "ann" }));
    await copy({ from, to });
    const listed = async (store: AbstractStore) => {
      const handles: string[] = [];
      for await (const { handle } of store.findByUser("ann")) handles.push(handle);
      return handles.sort();
    };
    expect(await listed(to)).toEqual(await listed(from));
    expect(await to.destroyByUser("ann")).toBe(2);
  });

  it("ids stay hashed, and sessions are encrypted anew", async () => {
    const hashIds = { secret: SECRET };
    const from = open({ prefix: "a:", hashIds, encryption: { keys: [randomBytes(32)] } });
    const to = open({ prefix: "b:", hashIds, encryption: { keys: [randomBytes(32)] } });
    await from.set("sid", plain({ a: 1 }));
    expect(counts(await copy({ from, to, verify: true }))).toMatchObject({ copied: 1, different: 0 });
    expect(await find(to, "sid")).toMatchObject({ a: 1 });
  });
});

describe("options that change how a session is stored", () => {
  it("ids are hashed on the way", async () => {
    const [from, to] = [memory(), memory({ hashIds: { secret: SECRET } })];
    await from.set("sid", plain({ a: 1 }));
    await copy({ from, to });
    expect(await find(to, "sid")).toMatchObject({ a: 1 });
    expect(await to.ids()).not.toContain("sid");
  });

  it.each([
    ["none", undefined],
    ["no secret", true],
    ["another secret", { secret: "another" }],
  ])("hashed ids are refused where `to` has %s, before anything is read", async (_name, hashIds) => {
    const from = scripted({ hashIds: { secret: SECRET } });
    await from.set("sid", plain());
    from.calls.splice(0);
    const to = memory({ hashIds });
    await expect(copy({ from, to })).rejects.toThrow(/A digest cannot be computed from another one/);
    expect(from.calls).toEqual([]);
  });
});

describe("a source that is no store of this package", () => {
  it("may be a list, an iterable, a generator, a Map, or an object with entries()", async () => {
    const pairs: [string, session.SessionData][] = [["sid", plain({ a: 1 })]];
    const sources = [
      [{ sid: "sid", session: plain({ a: 1 }) }],
      new Set(pairs),
      (async function* () {
        yield* pairs;
      })(),
      new Map(pairs),
      {
        entries: async function* () {
          yield* pairs;
        },
      },
    ];
    for (const from of sources) {
      const to = memory();
      expect(counts(await copy({ from, to }))).toEqual({ ...NOTHING, seen: 1, copied: 1 });
      expect(await find(to, "sid")).toMatchObject({ a: 1 });
    }
  });

  it("knows when a session ends: what its cookie says is older", async () => {
    const to = memory({ touchAfter: 0, ttl: 30 * MINUTE });
    const from = [
      { sid: "used", session: lasting(10 * MINUTE, clock), expiresAt: clock.in(8 * MINUTE).getTime() },
      { sid: "browser", session: plain(), expiresAt: clock.in(50 * MINUTE).getTime() },
      { sid: "ended", session: lasting(10 * MINUTE, clock), expiresAt: clock.in(-1).getTime() },
      { sid: "stale", session: lasting(-10 * MINUTE, clock), expiresAt: clock.in(5).getTime() },
    ];
    (from[3] as { session: session.SessionData }).session.cookie.originalMaxAge = 10 * MINUTE * 1000;
    expect(counts(await copy({ from, to }))).toEqual({ ...NOTHING, seen: 4, copied: 3, ended: 1 });
    clock.advance(4);
    expect((await to.ids()).sort()).toEqual(["browser", "stale", "used"]);
    clock.advance(1);
    expect((await to.ids()).sort()).toEqual(["browser", "used"]);
    clock.advance(8 * MINUTE - 6);
    expect((await to.ids()).sort()).toEqual(["browser", "used"]);
    clock.advance(1);
    expect(await to.ids()).toEqual(["browser"]);
    clock.advance(42 * MINUTE - 1);
    expect(await to.ids()).toEqual(["browser"]);
    clock.advance(1);
    expect(await to.ids()).toEqual([]);
  });

  it.each([
    ["a session without an id", [{ cookie: {} }]],
    ["a pair without an id", [[undefined, plain()]]],
    ["null", [null]],
  ])("is refused when it gives %s", async (_name, from) => {
    await expect(copy({ from: from as never, to: memory() })).rejects.toThrow(
      /without its id a session cannot be copied/,
    );
  });

  it("ends the copy with its own error", async () => {
    const broken = async function* (): AsyncGenerator<SourceItem> {
      yield { sid: "sid", session: plain() };
      throw new Error("connection lost");
    };
    const to = memory();
    await expect(copy({ from: broken(), to })).rejects.toThrow("connection lost");
    expect(await to.ids()).toEqual(["sid"]);
  });
});

describe("what cannot be copied is counted and named, and the rest is copied", () => {
  it("sessions that are too large, cannot be read, or are none", async () => {
    const from: SourceItem[] = [
      ...items(1),
      { sid: "large", session: plain({ text: "x".repeat(3000) }) },
      { sid: "unreadable", error: new Error("not JSON") },
      { sid: "none", session: "text" as never },
    ];
    const to = new MemoryStore({ maxBytes: 2000 });
    const progress = await copy({ from, to });
    expect(counts(progress)).toEqual({ ...NOTHING, seen: 4, copied: 1, failed: 3 });
    expect(progress.errors.map(({ error }) => String(error))).toEqual(
      expect.arrayContaining([
        "Error: not JSON",
        expect.stringContaining("Expected `session` to be an object"),
        expect.stringContaining("exceeds `maxBytes`"),
      ]),
    );
    expect(JSON.stringify(progress.errors)).not.toMatch(/large|unreadable"|none/);
  });

  it("records of a store that it cannot read", async () => {
    const from = scripted();
    await from.set("sid", plain());
    from.records.set("sess:foreign", { record: UNREADABLE });
    from.records.set("sess:text", {
      record: { ...(from.records.get("sess:sid") as never as { record: object }).record, data: "{" } as never,
    });
    const progress = await copy({ from, to: memory() });
    expect(counts(progress)).toEqual({ ...NOTHING, seen: 3, copied: 1, failed: 2 });
  });

  it("no more than a hundred errors are kept", async () => {
    const from = Array.from({ length: 150 }, (_, index) => ({ sid: `s${index}`, error: new Error("no") }));
    const { failed, errors } = await copy({ from, to: memory() });
    expect([failed, errors.length]).toEqual([150, 100]);
  });
});

describe("a copy", () => {
  it("writes no more sessions at a time than `concurrency` says", async () => {
    const to = scripted();
    let [inFlight, most] = [0, 0];
    to.script._write = async (key, write) => {
      most = Math.max(most, ++inFlight);
      await turn();
      inFlight -= 1;
      return to.write(key, write);
    };
    await copy({ from: items(50), to, concurrency: 7 });
    expect(most).toBe(7);
  });

  it("reads ahead no further than it writes", async () => {
    const to = scripted();
    let read = 0;
    const from = (function* () {
      for (const item of items(1000)) {
        read += 1;
        yield item;
      }
    })();
    let written = 0;
    let furthest = 0;
    to.script._write = async (key, write) => {
      await turn();
      furthest = Math.max(furthest, read - written);
      written += 1;
      return to.write(key, write);
    };
    await copy({ from, to, concurrency: 10 });
    expect(furthest).toBeLessThanOrEqual(11);
  });

  it("writes no more sessions in a second than `rate` says", async () => {
    jest.useFakeTimers();
    const to = memory();
    const copying = copy({ from: items(25), to, rate: 10 });
    await jest.advanceTimersByTimeAsync(1000);
    expect(await to.length()).toBe(11);
    await jest.advanceTimersByTimeAsync(1500);
    expect(counts(await copying)).toMatchObject({ copied: 25 });
  });

  it("in a dry run writes nothing, and counts as the real one does", async () => {
    const from = memory();
    const to = scripted();
    for (const sid of ["a", "b", "c"]) await from.set(sid, plain({ sid }));
    await from.set("ending", lasting(1, clock));
    await to.set("b", plain({ other: true }));
    clock.advance(MINUTE);
    to.calls.splice(0);
    const dry = await copy({ from, to, dryRun: true, verify: true });
    expect(new Set(to.calls)).toEqual(new Set(["read"]));
    expect(counts(dry)).toEqual({ ...NOTHING, seen: 3, copied: 2, present: 1, different: 1 });
    expect(await copy({ from, to, verify: true })).toEqual(dry);
  });

  it("leaves out what its filter does not choose", async () => {
    const from = memory();
    for (const index of [0, 1, 2, 3])
      await from.set(`s${index}`, plain({ index, text: "x".repeat(index * 100) }));
    const seen: number[] = [];
    const filter: CopyOptions["filter"] = (session, record) => {
      seen.push(record?.bytes as number);
      expect(record).toMatchObject({ createdAt: clock.now(), activeAt: clock.now(), user: undefined });
      return (session as { index?: number }).index !== 2;
    };
    const to = memory();
    expect(counts(await copy({ from, to, filter }))).toEqual({ ...NOTHING, seen: 4, copied: 3, skipped: 1 });
    expect((await to.ids()).sort()).toEqual(["s0", "s1", "s3"]);
    expect([...seen].sort((a, b) => a - b)).toEqual(seen);
    const some = await copy({ from: items(3), to, filter: (_session, record) => record !== undefined });
    expect(counts(some)).toEqual({ ...NOTHING, seen: 3, skipped: 3 });
  });

  it("that is verified finds what was not stored as it was given", async () => {
    const to = scripted();
    to.script._write = (key, write) =>
      to.write(key, { ...write, record: { ...write.record, data: write.record.data.replace("1", "2") } });
    const from = [{ sid: "sid", session: { ...plain(), a: 1 } }];
    expect(counts(await copy({ from, to, verify: true }))).toMatchObject({ copied: 1, different: 1 });
  });

  it("that is stopped begins nothing more, says how far it came, and can be continued", async () => {
    const to = memory();
    const stop = new AbortController();
    const from = (function* () {
      for (const [index, item] of items(100).entries()) {
        if (index === 40) stop.abort(new Error("stopped by the operator"));
        yield item;
      }
    })();
    let last: CopyProgress | undefined;
    const onProgress = (progress: CopyProgress) => {
      last = progress;
    };
    await expect(copy({ from, to, signal: stop.signal, onProgress, concurrency: 4 })).rejects.toThrow(
      "stopped by the operator",
    );
    const { copied } = last as CopyProgress;
    expect(await to.length()).toBe(copied);
    expect(copied).toBeLessThan(50);
    expect(counts(await copy({ from: items(100), to }))).toEqual({
      ...NOTHING,
      seen: 100,
      present: copied,
      copied: 100 - copied,
    });
  });

  it("ends at once when it is stopped while its source hangs", async () => {
    const stop = new AbortController();
    const hanging = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
    const copying = copy({ from: hanging, to: memory(), signal: stop.signal });
    await turn();
    stop.abort(new Error("stopped"));
    await expect(copying).rejects.toThrow("stopped");
    await expect(copy({ from: hanging, to: memory(), signal: stop.signal })).rejects.toThrow("stopped");
  });

  it("repeats what the backend failed to do, for half a minute", async () => {
    jest.useFakeTimers();
    const to = scripted();
    let failures = 0;
    to.script._write = (key, write) => {
      if (failures++ < 5) throw new Error("throttled");
      return to.write(key, write);
    };
    const copying = copy({ from: items(1), to });
    await jest.advanceTimersByTimeAsync(29_000);
    expect(failures).toBe(5);
    await jest.advanceTimersByTimeAsync(1000);
    expect(counts(await copying)).toEqual({ ...NOTHING, seen: 1, copied: 1 });
  });

  it("ends with the error of a backend that stays down", async () => {
    jest.useFakeTimers();
    const to = scripted();
    to.script._write = () => {
      throw new Error("down");
    };
    const failed = copy({ from: items(100), to }).then(
      () => undefined,
      error => error,
    );
    await jest.advanceTimersByTimeAsync(31_000);
    expect(await failed).toMatchObject({ code: "ERR_STORE_UNAVAILABLE", cause: new Error("down") });
    // The first session that fails for the sixth time ends the copy.
    expect(to.writes.length).toBe(16 * 5 + 1);
  });

  it("ends at once when a store is closed", async () => {
    const to = memory();
    await to.close();
    await expect(copy({ from: items(3), to })).rejects.toThrow(StoreError);
  });

  it("tells of its progress about once a second, and at the end", async () => {
    jest.useFakeTimers();
    const told: number[] = [];
    const copying = copy({
      from: items(30),
      to: memory(),
      rate: 10,
      concurrency: 1,
      onProgress: ({ copied }) => told.push(copied),
    });
    await jest.advanceTimersByTimeAsync(10_000);
    await copying;
    expect(told.length).toBeGreaterThanOrEqual(3);
    expect(told.length).toBeLessThanOrEqual(4);
    expect(told.at(-1)).toBe(30);
  });

  it.each([
    ["from", { from: new session.MemoryStore() }, /`from` to be another store of express-session-stores/],
    ["from", { from: undefined }, /`from`/],
    ["to", { to: new session.MemoryStore() }, /`to` to be a store of express-session-stores/],
    ["concurrency", { concurrency: 0 }, /`concurrency` to be a positive integer/],
    ["rate", { rate: -1 }, /`rate` to be a positive number of sessions a second/],
    ["dryRun", { dryRun: "yes" }, /`dryRun` to be a boolean/],
    ["signal", { signal: {} }, /`signal` to be an AbortSignal/],
    ["onProgress", { onProgress: 1 }, /`onProgress` to be a function/],
    ["an unknown option", { limit: 1 }, /Unknown option `limit`/],
  ])("refuses a wrong option: %s", async (_name, wrong, message) => {
    await expect(copy({ from: [], to: memory(), ...wrong } as never)).rejects.toThrow(message);
  });

  it("refuses to copy a store to itself", async () => {
    const store = memory();
    await expect(copy({ from: store, to: store })).rejects.toThrow(/another store/);
  });
});
