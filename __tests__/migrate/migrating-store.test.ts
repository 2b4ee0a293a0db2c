import type { RequestListener } from "node:http";
import session, { type Store } from "express-session";
import { Clock } from "../../lib/conformance/clock.js";
import { lasting, plain, respond } from "../../lib/conformance/sessions.js";
import type { StoreOptions } from "../../lib/index.js";
import { MemoryStore } from "../../lib/memory.js";
import { copy, MigratingStore, type SourceSession, type Stage } from "../../lib/migrate.js";
import { Browser, createApp, Gate } from "../helpers/apps/app.js";
import { collect, type OpenOldStore, oldStores } from "../helpers/migration/old-stores.js";
import { backends, useBackend } from "../helpers/stores/backends.js";

const STAGES: Stage[] = ["from", "from-first", "to-first", "to"];
const NEIGHBORS: [Stage, Stage][] = STAGES.flatMap((stage, index) => {
  const next = STAGES[index + 1];
  return next === undefined ? [] : [[stage, next] as [Stage, Stage]];
});
const COOKIE = { maxAge: 600_000 };

const file = backends.find(({ name }) => name === "file") as (typeof backends)[number];
const createNew = useBackend(file);

/** Two stages that share the stores, like two processes. */
interface Site {
  readonly apps: RequestListener[];
  readonly gate: Gate;
}

/** The sid in a browser's cookie. */
function sidOf({ cookie = "" }: Browser): string {
  return decodeURIComponent(cookie.split("=")[1] ?? "")
    .slice("s:".length)
    .split(".")[0] as string;
}

describe.each(oldStores)("from $name", kind => {
  let old: OpenOldStore;
  beforeAll(async () => {
    old = await kind.open();
  });
  afterAll(() => old.close());

  function openSite(...stages: Stage[]): Site {
    const newStore = () => createNew({ touchAfter: 0 });
    const gate = new Gate();
    const routes = {
      "POST /slow": async (req: { session: object }) => {
        await gate.pass();
        Object.assign(req.session, { slow: "yes" });
      },
    };
    const apps = stages.map(stage =>
      createApp(new MigratingStore({ from: old.store, to: newStore(), stage }), { cookie: COOKIE, routes }),
    );
    return { apps, gate };
  }

  it("a browser stays signed in through all stages and back, and loses no change", async () => {
    const order: Stage[] = [...STAGES, "to-first", "from-first", "from"];
    const { apps } = openSite(...order);
    let browser = new Browser(apps[0] as RequestListener);
    await browser.send("POST /sign-in?user=ann");
    const expected: Record<string, string> = { user: "ann" };
    for (const [index, app] of apps.entries()) {
      browser = browser.clone(app);
      expect(await browser.fields().then(withoutAccessTime)).toEqual(expected);
      await browser.send(`POST /set?key${index}=${index}`);
      expected[`key${index}`] = String(index);
      expect(await browser.fields().then(withoutAccessTime)).toEqual(expected);
    }
  });

  it("a session that nobody changes is kept through all stages", async () => {
    const { apps } = openSite(...STAGES);
    let browser = new Browser(apps[0] as RequestListener);
    await browser.send("POST /sign-in?user=ann");
    for (const app of apps) {
      browser = browser.clone(app);
      for (let visit = 0; visit < 2; visit++)
        expect(await browser.fields().then(withoutAccessTime)).toEqual({ user: "ann" });
    }
  });

  it.each(["from-first", "to-first"] as const)(
    "at %s the old store keeps a session for its maxAge",
    async stage => {
      const { apps } = openSite(stage, "to");
      const browser = new Browser(apps[1] as RequestListener);
      await browser.send("POST /sign-in?user=ann");
      // At this stage, the first visit writes the session that was created at "to".
      await browser.clone(apps[0]).fields();
      const items = (await collect(old.reader)) as SourceSession[];
      const item = items.find(({ sid }) => sid === sidOf(browser));
      expect(item?.session).toMatchObject({ user: "ann" });
      expect(Math.abs((item?.expiresAt ?? 0) - Date.now() - COOKIE.maxAge)).toBeLessThan(2000);
    },
  );

  it("the stores have the same values as far as the application sets them", async () => {
    const store = new MigratingStore({
      from: old.store,
      to: createNew({ touchAfter: 0 }),
      stage: "from-first",
    });
    const browser = new Browser(createApp(store, { cookie: COOKIE }));
    await browser.send("POST /sign-in?user=ann");
    for (let visit = 0; visit < 3; visit++) {
      await browser.send(`POST /set?visit=${visit}`);
      await browser.fields();
    }
    expect(store.figures).toEqual({ moved: 0, mismatches: 0, readFrom: { from: 6, to: 0 } });
  });

  describe.each(NEIGHBORS)("%s beside %s", (one, other) => {
    const sides = [
      [0, 1],
      [1, 0],
    ] as const;

    it.each(sides)("what one saves, the other sees (%i then %i)", async (first, second) => {
      const { apps } = openSite(one, other);
      const browser = new Browser(apps[first] as RequestListener);
      await browser.send("POST /sign-in?user=ann");
      const beside = browser.clone(apps[second]);
      expect(await beside.fields().then(withoutAccessTime)).toEqual({ user: "ann" });
      await browser.send("POST /set?a=1");
      expect(await beside.fields().then(withoutAccessTime)).toEqual({ user: "ann", a: "1" });
      await beside.send("POST /set?b=2");
      expect(await browser.fields().then(withoutAccessTime)).toEqual({ user: "ann", a: "1", b: "2" });
    });

    it.each(sides)("a sign-out is final on both (%i then %i)", async (first, second) => {
      const { apps } = openSite(one, other);
      const browser = new Browser(apps[0] as RequestListener);
      await browser.send("POST /sign-in?user=ann");
      for (const app of apps) await browser.clone(app).fields();
      const beside = browser.clone(apps[second]);
      await browser.clone(apps[first]).send("POST /sign-out");
      expect(await beside.fields().then(withoutAccessTime)).toEqual({});
      expect(await browser.clone(apps[first]).fields().then(withoutAccessTime)).toEqual({});
      const left = await collect(old.reader);
      if (other !== "to") expect(left.map(({ sid }) => sid)).not.toContain(sidOf(browser));
    });

    it.each(sides)("a slow request does not undo a sign-out (%i during %i)", async (first, second) => {
      const { apps, gate } = openSite(one, other);
      const browser = new Browser(apps[0] as RequestListener);
      await browser.send("POST /sign-in?user=ann");
      for (const app of apps) await browser.clone(app).send("POST /set?a=1");
      const slow = browser.clone(apps[second]).attempt("POST /slow");
      await gate.reached;
      await browser.clone(apps[first]).send("POST /sign-out");
      gate.open();
      await slow;
      for (const app of apps) expect(await browser.clone(app).fields().then(withoutAccessTime)).toEqual({});
    });
  });

  it("from to-first on, parallel requests keep each other's changes, and the old store has them all", async () => {
    const { apps, gate } = openSite("to-first", "to-first", "from");
    const browser = new Browser(apps[0] as RequestListener);
    await browser.send("POST /sign-in?user=ann");
    const slow = browser.clone(apps[1]).send("POST /slow");
    await gate.reached;
    await browser.send("POST /set?a=1");
    gate.open();
    await slow;
    const expected = { user: "ann", a: "1", slow: "yes" };
    expect(await browser.fields().then(withoutAccessTime)).toEqual(expected);
    expect(await browser.clone(apps[2]).fields().then(withoutAccessTime)).toEqual(expected);
  });
});

/** session-file-store and dynamodb-store record the time of each access in the session itself. */
function withoutAccessTime({ __lastAccess: _time, updated: _updated, ...fields }: Record<string, unknown>) {
  return fields;
}

function length(store: Store): Promise<number> {
  return new Promise((resolve, reject) => {
    store.length?.((error: unknown, value?: number) => (error ? reject(error) : resolve(value ?? 0)));
  });
}

describe.each(backends.filter(({ persistent }) => persistent))("to $name", backend => {
  const createStore = useBackend(backend);

  const openApps = (from: Store, options: StoreOptions = {}) =>
    STAGES.map(stage => {
      const to = createStore({ touchAfter: 0, ...options });
      return createApp(new MigratingStore({ from, to, stage }), { cookie: COOKIE });
    });

  it("a browser stays signed in through all stages, and is signed out in all of them", async () => {
    const apps = openApps(new session.MemoryStore());
    let browser = new Browser(apps[0] as RequestListener);
    await browser.send("POST /sign-in?user=ann");
    for (const [index, app] of apps.entries()) {
      browser = browser.clone(app);
      expect(await browser.fields()).toMatchObject({ user: "ann" });
      await browser.send(`POST /set?key${index}=${index}`);
    }
    expect(Object.keys(await browser.fields())).toEqual(["user", "key0", "key1", "key2", "key3"]);
    await browser.send("POST /sign-out");
    // Only the neighboring stage may run at the same time.
    expect(await browser.clone(apps[2]).fields()).toEqual({});
  });

  const options: Record<string, StoreOptions> = {
    "another prefix": { prefix: "new:" },
    "plain ids to hashed ones": { prefix: "new:", hashIds: { secret: "s" } },
    "no encryption to encryption": { prefix: "new:", encryption: { keys: [Buffer.alloc(32, 1)] } },
  };
  it.each(Object.entries(options))(
    "from the same backend with %s, forward and back",
    async (_name, newOptions) => {
      const from = createStore({ touchAfter: 0, prefix: "old:" });
      const apps = openApps(from, newOptions);
      let browser = new Browser(apps[0] as RequestListener);
      await browser.send("POST /sign-in?user=ann");
      const conflicts: unknown[] = [];
      from.on("conflict", event => conflicts.push(event));
      const expected: Record<string, string> = { user: "ann" };
      for (const index of [0, 1, 2, 3, 2, 1, 0]) {
        browser = browser.clone(apps[index] as RequestListener);
        expect(await browser.fields()).toEqual(expected);
        await browser.send(`POST /set?key${index}=${browser.cookie?.length}`);
        expected[`key${index}`] = String(browser.cookie?.length);
      }
      expect(conflicts).toEqual([]);
      await browser.send("POST /sign-out");
      for (const app of apps) expect(await browser.clone(app).fields()).toEqual({});
    },
  );
});

describe("a migrating store", () => {
  it("moves a session whose cookie in the old store is that of its last save", async () => {
    const from = new session.MemoryStore();
    const to = new MemoryStore();
    const expires = new Date(Date.now() - 60_000);
    const stale = plain({ user: "ann" });
    Object.assign(stale.cookie, { originalMaxAge: 1000, expires });
    // Like connect-redis, whose touch moves only the expiry of the key.
    Object.assign(from, {
      get: (_sid: string, done: (error: null, found: unknown) => void) => done(null, stale),
    });
    const store = new MigratingStore({ from, to, stage: "to-first" });
    const moved: unknown[] = [];
    store.on("moved", event => moved.push(event));
    expect(await store.get("sid")).toMatchObject({ user: "ann" });
    expect(await to.get("sid")).toMatchObject({ user: "ann" });
    expect(store.figures).toEqual({ moved: 1, mismatches: 0, readFrom: { from: 1, to: 0 } });
    expect(await store.get("sid")).toMatchObject({ user: "ann" });
    expect(store.figures.readFrom).toEqual({ from: 1, to: 1 });
    await new Promise(setImmediate);
    expect(moved).toHaveLength(1);
    expect(JSON.stringify(moved)).not.toContain('"sid"');
  });

  it("reports the keys whose values differ between the stores, and no values", async () => {
    const from = new session.MemoryStore();
    const to = new MemoryStore();
    from.set("sid", plain({ user: "ann", cart: [1], same: { a: 1 } }));
    await to.set("sid", plain({ user: "ann", cart: [2], same: { a: 1 }, more: true }));
    const store = new MigratingStore({ from, to, stage: "from-first" });
    const mismatches: { keys: string[] }[] = [];
    store.on("mismatch", event => mismatches.push(event));
    expect(await store.get("sid")).toMatchObject({ cart: [1] });
    await new Promise(setImmediate);
    expect(mismatches.map(({ keys }) => keys)).toEqual([["cart", "more"]]);
    expect(store.figures.mismatches).toBe(1);
  });

  it("moves a session once if many requests ask for it, and never over a sign-out", async () => {
    const from = new session.MemoryStore();
    const to = new MemoryStore();
    from.set("sid", plain({ user: "ann" }));
    const store = new MigratingStore({ from, to, stage: "to-first" });
    const found = await Promise.all(Array.from({ length: 20 }, () => store.get("sid")));
    expect(found.every(each => (each as { user?: string } | null)?.user === "ann")).toBe(true);
    expect(store.figures.moved).toBe(1);
    await store.destroy("sid");
    // A slow request at the old store recreates the session there.
    from.set("sid", plain({ user: "ann" }));
    expect(await store.get("sid")).toBeNull();
    const back = new MigratingStore({ from, to, stage: "from-first" });
    expect(await back.get("sid")).toBeNull();
    expect(await length(from)).toBe(0);
  });

  it("on the way back, a visit is enough to bring a change to the old store, though its touch is skipped", async () => {
    const from = new session.MemoryStore();
    const to = new MemoryStore({ touchAfter: 60 });
    const at = (stage: Stage) => new MigratingStore({ from, to, stage });
    const loaded = async (store: MigratingStore) => (await store.get("sid")) as session.SessionData;
    from.set("sid", plain({ a: 1 }));
    const [before, visited] = [at("to-first"), at("to-first")];
    await before.touch("sid", await loaded(before));
    const late = at("to");
    await late.set("sid", Object.assign(await loaded(late), { a: 2 }));
    await visited.touch("sid", await loaded(visited));
    expect(await at("from-first").get("sid")).toMatchObject({ a: 2 });
    const sets = jest.spyOn(from, "set");
    for (let visit = 0; visit < 3; visit++) {
      await visited.touch("sid", await loaded(visited));
    }
    expect(sets).not.toHaveBeenCalled();
    // Another process has changed the session, and failed before the change reached the old store.
    await late.set("sid", Object.assign(await loaded(late), { a: 3 }));
    await visited.touch("sid", await loaded(visited));
    expect(await at("from-first").get("sid")).toMatchObject({ a: 3 });
  });

  it("copies back what nobody visits", async () => {
    const from = new session.MemoryStore();
    const to = new MemoryStore();
    const at = (stage: Stage) => new MigratingStore({ from, to, stage });
    for (let index = 0; index < 40; index++) await to.set(`s${index}`, plain({ index }));
    await to.destroy("s7");
    from.set("s7", plain({ index: 7 }));
    const copied: number[] = [];
    for await (const count of at("to-first").copyBack()) copied.push(count);
    expect(copied).toEqual([16, 32, 40]);
    // The new store is no longer needed.
    const old = at("from");
    expect(await length(from)).toBe(39);
    for (let index = 0; index < 40; index++) {
      const found = await old.get(`s${index}`);
      if (index === 7) expect(found).toBeNull();
      else expect(found).toMatchObject({ index });
    }
    await expect(at("to").copyBack().next()).rejects.toThrow(
      /needs the stage "to-first", and this store is at "to"/,
    );
    const hashed = new MemoryStore({ hashIds: true });
    await hashed.set("sid", plain());
    const back = new MigratingStore({ from, to: hashed, stage: "to-first" });
    await expect(back.copyBack().next()).rejects.toThrow(/which `to` hashes/);
  });

  it('at "from" sessions are read while the new store fails, and nothing is acknowledged that it has to know', async () => {
    const from = new session.MemoryStore();
    const to = new MemoryStore();
    const store = new MigratingStore({ from, to, stage: "from" });
    await store.set("sid", plain({ a: 1 }));
    const found = (await store.get("sid")) as session.SessionData;
    await to.close();
    expect(await store.get("sid")).toMatchObject({ a: 1 });
    await store.touch("sid", found);
    await expect(store.set("sid", found)).rejects.toMatchObject({ code: "ERR_STORE_CLOSED" });
    await expect(store.destroy("sid")).rejects.toMatchObject({ code: "ERR_STORE_CLOSED" });
  });

  it("a key that a request removed while its session was copied is not brought back by the copy", async () => {
    const from = new session.MemoryStore();
    const to = new MemoryStore();
    const store = new MigratingStore({ from, to, stage: "from-first" });
    from.set("sid", plain({ role: "admin", a: 1 }));
    const found = (await store.get("sid")) as session.SessionData & { role?: string };
    await copy({ from: [["sid", plain({ role: "admin", a: 1 })]], to });
    delete found.role;
    await store.set("sid", found);
    expect(await to.get("sid")).not.toHaveProperty("role");
    expect(await to.get("sid")).toMatchObject({ a: 1 });
  });

  it('at "from" the copy that "from-first" has written follows changes and uses', async () => {
    const clock = new Clock();
    const from = new MemoryStore({ now: clock.now, touchAfter: 0 });
    const to = new MemoryStore({ now: clock.now, touchAfter: 0 });
    const at = (stage: Stage) => new MigratingStore({ from, to, stage });
    const loaded = async (store: MigratingStore) => (await store.get("sid")) as session.SessionData;
    await at("from-first").set("sid", lasting(600, clock, { a: 1 }));
    const old = at("from");
    await old.set("sid", Object.assign(await loaded(old), { a: 2 }));
    expect(await to.get("sid")).toMatchObject({ a: 2 });
    for (let visit = 0; visit < 3; visit++) {
      clock.advance(400);
      const visited = await loaded(old);
      respond(visited, clock);
      await old.touch("sid", visited);
    }
    expect(await loaded(at("to-first"))).toMatchObject({ a: 2 });
  });

  it("keeps sign-outs for as long as sessions of the old store may live", async () => {
    const from = new session.MemoryStore();
    const clock = new Clock();
    const to = new MemoryStore({ now: clock.now, cleanupInterval: 0 });
    const store = new MigratingStore({ from, to, stage: "to", keepSignOutsDays: 7 });
    await store.set("sid", plain({ user: "ann" }));
    await store.destroy("sid");
    from.set("sid", plain({ user: "ann" }));
    const beside = new MigratingStore({ from, to, stage: "to-first", keepSignOutsDays: 7 });
    clock.advance(6 * 24 * 3600);
    await to.cleanup();
    expect(await beside.get("sid")).toBeNull();
    // If a session is known to be destroyed, then it is destroyed in the old store as well.
    expect(await length(from)).toBe(0);
    from.set("sid", plain({ user: "ann" }));
    clock.advance(2 * 24 * 3600);
    await to.cleanup();
    expect(await beside.get("sid")).toMatchObject({ user: "ann" });
  });

  it("lists, counts and clears the sessions of both stores", async () => {
    for (const stage of STAGES) {
      const from = new session.MemoryStore();
      const to = new MemoryStore();
      const store = new MigratingStore({ from, to, stage });
      from.set("old", plain({ device: "old" }));
      from.set("both", plain({ device: "both" }));
      from.set("gone", plain({ device: "gone" }));
      await to.set("both", plain({ device: "both" }));
      await to.set("new", plain({ device: "new" }));
      await to.destroy("gone");
      const expected = {
        from: ["both", "gone", "old"],
        "from-first": ["both", "new", "old"],
        "to-first": ["both", "new", "old"],
        to: ["both", "new"],
      }[stage];
      expect((await store.all()).map(({ id }) => id).sort()).toEqual(expected);
      expect(await store.length()).toBe(expected.length);
      await store.clear();
      expect(await store.length()).toBe(0);
      if (stage !== "to") expect(await length(from)).toBe(0);
    }
  });

  it("ends the sessions of a user in both stores", async () => {
    const user = (each: object) => (each as { user?: string }).user;
    for (const except of [undefined, "old", "both"]) {
      const from = new session.MemoryStore();
      const to = new MemoryStore({ user });
      const store = new MigratingStore({ from, to, stage: "to-first" });
      from.set("old", plain({ user: "ann" }));
      from.set("bob", plain({ user: "bob" }));
      from.set("both", plain({ user: "ann" }));
      await store.get("both");
      expect(await store.destroyByUser("ann", { except })).toBe(except === undefined ? 2 : 1);
      for (const sid of ["old", "both"]) {
        const found = await store.get(sid);
        expect(found === null).toBe(sid !== except);
      }
      expect(await store.get("bob")).not.toBeNull();
    }
  });

  it("rejects wrong options, and says what it expects", () => {
    const from = new session.MemoryStore();
    const to = new MemoryStore();
    const open = (options: object) => () => new MigratingStore(options as never);
    expect(open({ to, stage: "to" })).toThrow(/`from`/);
    expect(open({ from, to: from, stage: "to" })).toThrow(/`from`|`to`/);
    expect(open({ from, to, stage: "later" })).toThrow(/"from", "from-first", "to-first", "to"/);
    expect(open({ from, to })).toThrow(/`stage`/);
    expect(open({ from, to, stage: "to", keepSignOutsDays: -1 })).toThrow(/`keepSignOutsDays`/);
    expect(open({ from, to, stage: "to", x: 1 })).toThrow(/Unknown option `x`/);
  });

  it("says when it was the old store that failed, hung or lacks a method", async () => {
    const to = new MemoryStore({ timeoutMs: 100 });
    const failing = Object.assign(new session.MemoryStore(), {
      get: (_sid: string, done: (error: Error) => void) => done(new Error("down")),
      set: () => {},
      all: undefined,
      length: undefined,
    }) as unknown as Store;
    const store = new MigratingStore({ from: failing, to, stage: "to-first" });
    await expect(store.get("sid")).rejects.toMatchObject({
      code: "ERR_STORE_UNAVAILABLE",
      message: expect.stringMatching(/old store .*`get`/),
      cause: expect.objectContaining({ message: "down" }),
    });
    await expect(store.set("sid", plain({ a: 1 }))).rejects.toMatchObject({
      code: "ERR_STORE_TIMEOUT",
      message: expect.stringMatching(/old store .*`set` within 100 ms/),
    });
    expect(await to.get("sid")).toMatchObject({ a: 1 });
    await expect(store.all()).rejects.toMatchObject({ message: expect.stringMatching(/no method `all`/) });
    await expect(store.length()).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
  });
});
