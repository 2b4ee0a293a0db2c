import { Cookie, Session, type SessionData } from "express-session";
import { Clock } from "../../lib/conformance/clock.js";
import { eventsOf } from "../../lib/conformance/observe.js";
import {
  find,
  load,
  plain,
  type RequestSession,
  requestSession,
  stored,
  type TestSession,
} from "../../lib/conformance/sessions.js";
import type { ConflictEvent, StoreOptions } from "../../lib/index.js";
import { MemoryStore } from "../../lib/memory.js";

/*
 * The objects that applications pass to `set` in place of the loaded session. Whatever they are, a destroyed session
 * stays destroyed, and no change of another request is lost.
 */

let store: MemoryStore;
let conflicts: () => Promise<ConflictEvent[]>;

function open(options: StoreOptions = {}): void {
  store = new MemoryStore({ cleanupInterval: 0, ...options });
  conflicts = eventsOf(store, "conflict");
}

beforeEach(() => open());
afterEach(() => store.close());

/** A proxy of a session whose objects are proxies too, like those of libraries for change detection. */
function deepProxy<T extends object>(target: T): T {
  return new Proxy(target, {
    get(object, key) {
      const value = Reflect.get(object, key);
      // A proxy must return a frozen or hidden field as it is. Methods need their own object.
      return typeof value === "object" && value !== null && key !== "req" ? deepProxy(value) : value;
    },
  });
}

type Disguise = (session: RequestSession) => SessionData;

/** As in applications that give each request a session class of their own. */
function madeOf(session: RequestSession): RequestSession {
  const { req } = session as unknown as { req: object };
  const SessionOfRequest = Session as unknown as new (req: object, data: object) => RequestSession;
  return new SessionOfRequest(req, session);
}

/** Objects that the store recognizes as the loaded session. */
const recognized: Record<string, Disguise> = {
  "the Session of a request": session => session,
  "a spread of it": session => ({ ...session }),
  "a copy by Object.assign": session => Object.assign({}, session),
  "a Session that is made of it": session => madeOf(session),
  "a proxy of it": session => new Proxy(session, {}),
  "a proxy of all its objects": deepProxy,
  "a proxy of a proxy": session => new Proxy(deepProxy(session), {}),
  "an object that inherits nothing but has its cookie": session =>
    Object.assign(Object.create(null), { cookie: session.cookie }, session),
};

/** Objects that the store treats as a copy. */
const unrecognized: Record<string, Disguise> = {
  "a structuredClone": session => structuredClone({ ...session }) as SessionData,
  "a structuredClone of what it is, fields only": session =>
    structuredClone(Object.fromEntries(Object.entries(session))) as unknown as SessionData,
  "a deep copy with its methods": session => deepCopy(session),
};

/** A copy of own enumerable fields and of prototypes, as lodash makes it. */
function deepCopy<T extends object>(object: T): T {
  const fields = Object.entries(object).map(([key, value]) => {
    return [key, typeof value === "object" && value !== null ? deepCopy(value) : value];
  });
  return Object.assign(Object.create(Object.getPrototypeOf(object)), Object.fromEntries(fields));
}

const changed = (disguise: Disguise, session: RequestSession, fields: object) =>
  Object.assign(disguise(session), fields);

describe.each(Object.entries(recognized))("%s", (_name, disguise) => {
  it("is saved as the session that was loaded, without a conflict", async () => {
    await store.set("sid", plain({ views: 1, gone: 1 }));
    const session = await load(store, "sid");
    delete session.gone;
    await store.set("sid", changed(disguise, session, { views: 2 }));
    expect(await stored(store, "sid")).toEqual({ views: 2 });
    expect(await conflicts()).toEqual([]);
  });

  it("is merged with what others have changed since it was loaded", async () => {
    await store.set("sid", plain({ views: 1, theirs: 1, gone: 1 }));
    const session = await load(store, "sid");
    await store.set("sid", Object.assign(await load(store, "sid"), { theirs: 2 }));
    delete session.gone;
    await store.set("sid", changed(disguise, session, { views: 2 }));
    expect(await stored(store, "sid")).toEqual({ views: 2, theirs: 2 });
    expect(await conflicts()).toMatchObject([{ reason: "merged", keys: [] }]);
  });

  it("does not bring back what was destroyed", async () => {
    await store.set("sid", plain());
    const session = await load(store, "sid");
    await store.destroy("sid");
    await store.set("sid", changed(disguise, session, { views: 1 }));
    expect(await store.get("sid")).toBeNull();
    expect(await conflicts()).toMatchObject([{ reason: "gone" }]);
  });

  it("does not write over a session that was created again under its id", async () => {
    await store.set("sid", plain());
    const session = await load(store, "sid");
    await store.destroy("sid");
    await store.set("sid", plain({ user: "ben" }));
    await store.set("sid", changed(disguise, session, { user: "ann" }));
    expect(await stored(store, "sid")).toEqual({ user: "ben" });
  });

  it("touches the session", async () => {
    await store.set("sid", plain({ views: 1 }));
    await store.touch("sid", changed(disguise, await load(store, "sid"), { views: 2 }));
    expect(await stored(store, "sid")).toEqual({ views: 1 });
  });
});

describe.each([
  ["a spread", (data: SessionData) => ({ ...data })],
  ["a proxy", (data: SessionData) => new Proxy(data, {})],
])("the Session that is made of %s of what get returned", (_name, disguise) => {
  it("is known as the session that was loaded", async () => {
    await store.set("sid", plain({ views: 1, theirs: 1 }));
    const session = requestSession(store, "sid", disguise(await find(store, "sid")));
    await store.set("sid", Object.assign(await load(store, "sid"), { theirs: 2 }));
    await store.set("sid", Object.assign(session, { views: 2 }));
    expect(await stored(store, "sid")).toEqual({ views: 2, theirs: 2 });
    await store.destroy("sid");
    await store.set("sid", Object.assign(session, { views: 3 }));
    expect(await store.get("sid")).toBeNull();
  });
});

// Passport's `logIn` with `keepSessionInfo` gives the new session the cookie object of the old one.
describe.each(["another sid", "the same sid"])("the session before `regenerate`, with %s", kind => {
  const newSid = kind === "another sid" ? "new" : "old";

  /** What express-session does in `req.session.regenerate()`. */
  async function regenerate(old: RequestSession): Promise<RequestSession> {
    const { req } = old as unknown as { req: Parameters<MemoryStore["createSession"]>[0] };
    const generate = () => store.createSession(Object.assign(req, { sessionID: newSid }), plain());
    Object.assign(store, { generate });
    await new Promise(resolve => store.regenerate(req, resolve));
    return req.session as RequestSession;
  }

  it.each([
    ["itself", (session: RequestSession) => session],
    ["as a proxy", (session: RequestSession) => new Proxy(session, {})],
  ])("stays destroyed, and the new one is saved %s, also with its cookie", async (_name, disguise) => {
    await store.set("old", plain({ user: "ann" }));
    const old = await load(store, "old");
    const session = disguise(Object.assign(await regenerate(old), { cookie: old.cookie, user: "ben" }));
    await store.set(newSid, session);
    expect(await stored(store, newSid)).toEqual({ user: "ben" });
    await store.set("old", Object.assign(old, { cart: 1 }));
    expect(await stored(store, "old")).toEqual(kind === "another sid" ? null : { user: "ben" });
    await store.destroy(newSid);
    await store.set(newSid, Object.assign(session, { cart: 1 }));
    expect(await store.get(newSid)).toBeNull();
  });
});

it("a session that was also saved under another sid stays the session with its own", async () => {
  await store.set("sid", plain({ user: "ann" }));
  const session = await load(store, "sid");
  await store.set("audit", session);
  await store.destroy("sid");
  await store.set("sid", session);
  expect(await store.get("sid")).toBeNull();
});

it("a session that asks for its end when another host has seen it end is destroyed for all", async () => {
  const clock = new Clock();
  open({ now: clock.now, ttl: 600, touchAfter: 0 });
  await store.set("sid", plain({ user: "ann" }));
  const running = await load(store, "sid");
  clock.advance(601);
  await store.set("sid", { cookie: { originalMaxAge: 0 } } as SessionData);
  await store.set("sid", Object.assign(running, { views: 1 }));
  expect(await store.get("sid")).toBeNull();
});

const newSessions = ["the Session of a request", "a proxy of it", "a proxy of all its objects"] as const;

describe.each(newSessions)("of a new session, %s", name => {
  const disguise = recognized[name] as Disguise;

  it("creates a new session, and is known from then on", async () => {
    const session = requestSession(store, "sid", plain());
    await store.set("sid", changed(disguise, session, { views: 1 }));
    expect(await stored(store, "sid")).toMatchObject({ views: 1 });
    await store.destroy("sid");
    await store.set("sid", changed(disguise, session, { views: 2 }));
    expect(await store.get("sid")).toBeNull();
  });
});

it("plain data with a Cookie of express-session replaces a session", async () => {
  await store.set("sid", plain({ views: 1 }));
  await store.set("sid", { cookie: new Cookie(), theirs: 2 } as unknown as SessionData);
  expect(await stored(store, "sid")).toEqual({ theirs: 2 });
  expect(await conflicts()).toEqual([]);
});

describe.each(Object.entries(unrecognized))("%s", (_name, disguise) => {
  it("is merged into what is stored, and reported as untracked", async () => {
    await store.set("sid", plain({ views: 1, theirs: 1 }));
    const session = await load(store, "sid");
    await store.set("sid", Object.assign(await load(store, "sid"), { theirs: 2, more: 1 }));
    await store.set("sid", changed(disguise, session, { views: 2 }));
    // The store cannot see that `theirs` is the value that was loaded.
    expect(await stored(store, "sid")).toEqual({ views: 2, theirs: 1, more: 1 });
    expect(await conflicts()).toMatchObject([{ reason: "untracked", keys: ["views", "theirs"] }]);
  });

  it("does not bring back what was destroyed", async () => {
    await store.set("sid", plain());
    const session = await load(store, "sid");
    await store.destroy("sid");
    await store.set("sid", changed(disguise, session, { views: 1 }));
    expect(await store.get("sid")).toBeNull();
    expect(await conflicts()).toMatchObject([{ reason: "gone" }]);
  });

  it("is refused with conflict: error, and leaves what is stored", async () => {
    open({ conflict: "error" });
    await store.set("sid", plain({ views: 1 }));
    const saving = store.set("sid", changed(disguise, await load(store, "sid"), { views: 2 }));
    await expect(saving).rejects.toMatchObject({ code: "ERR_SESSION_CONFLICT" });
    expect(await stored(store, "sid")).toEqual({ views: 1 });
  });
});

describe("an object of a listing", () => {
  const listings: Record<string, () => Promise<TestSession>> = {
    get: () => find(store, "sid"),
    "all()": async () => (await store.all())[0] as unknown as TestSession,
    async "entries()"() {
      for await (const [, session] of store.entries()) return session as TestSession;
      throw new Error("Nothing is listed");
    },
  };

  describe.each(Object.entries(listings))("%s", (_name, list) => {
    it("is merged with what others have changed since", async () => {
      await store.set("sid", plain({ views: 1, theirs: 1 }));
      const session = await list();
      await store.set("sid", Object.assign(await load(store, "sid"), { theirs: 2 }));
      await store.set("sid", Object.assign(session, { views: 2 }));
      expect(await stored(store, "sid")).toEqual({ views: 2, theirs: 2 });
    });

    it("does not bring back what was destroyed, nor move the end by its absolute timeout", async () => {
      await store.set("sid", plain());
      const session = await list();
      await store.destroy("sid");
      await store.set("sid", Object.assign(session, { views: 1 }));
      expect(await store.get("sid")).toBeNull();
    });

    it("can be saved under another id as a new session", async () => {
      await store.set("sid", plain({ views: 1 }));
      await store.set("other", await list());
      await store.destroy("sid");
      expect(await stored(store, "other")).toMatchObject({ views: 1 });
    });
  });

  it("of all() is saved without the id that was added to it", async () => {
    await store.set("sid", plain({ views: 1 }));
    const [session] = await store.all();
    await store.set("sid", Object.assign(session as unknown as TestSession, { views: 2 }));
    expect(await stored(store, "sid")).toEqual({ views: 2 });
  });
});

describe("a Session that the store does not know", () => {
  it("of a store that was opened later is merged into what is stored, and reported as untracked", async () => {
    await store.set("sid", plain({ views: 1, theirs: 1 }));
    const other = new MemoryStore({ cleanupInterval: 0 });
    // Loaded through another store object, as after a reload of the module in development.
    const session = requestSession(other, "sid", {
      cookie: new Cookie(),
      views: 2,
    } as unknown as SessionData);
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ views: 2, theirs: 1 });
    expect(await conflicts()).toMatchObject([{ reason: "untracked" }]);
    await other.close();
  });

  it("does not replace that of a parallel first request with the same id: both are kept", async () => {
    const [one, two] = [requestSession(store, "ann", plain()), requestSession(store, "ann", plain())];
    await Promise.all([
      store.set("ann", Object.assign(one, { one: 1 })),
      store.set("ann", Object.assign(two, { two: 1 })),
    ]);
    expect(await stored(store, "ann")).toEqual({ one: 1, two: 1 });
  });
});

describe("plain data of a script", () => {
  it("replaces what is stored, conflicts or not", async () => {
    await store.set("sid", plain({ views: 1, theirs: 1 }));
    await store.set("sid", plain({ views: 2 }));
    expect(await stored(store, "sid")).toEqual({ views: 2 });
    expect(await conflicts()).toEqual([]);
  });

  it("creates a session where one was destroyed", async () => {
    await store.set("sid", plain({ views: 1 }));
    await store.destroy("sid");
    await store.set("sid", plain({ views: 2 }));
    expect(await stored(store, "sid")).toEqual({ views: 2 });
  });
});

it("a session of which one copy was saved is changed since, for the other copies", async () => {
  await store.set("sid", plain({ views: 1 }));
  const [one, two] = [await find(store, "sid"), await find(store, "sid")];
  await store.set("sid", Object.assign(one, { one: 1 }));
  await store.set("sid", Object.assign(two, { two: 1 }));
  expect(await stored(store, "sid")).toEqual({ views: 1, one: 1, two: 1 });
});

it("no private field or property of the store is on the objects that applications get", async () => {
  await store.set("sid", plain({ views: 1 }));
  const found = await find(store, "sid");
  expect(Reflect.ownKeys(found).sort()).toEqual(["cookie", "views"]);
  expect(Object.isExtensible(found)).toBe(true);
  Object.freeze(found);
  await store.set("sid", found);
  const session = await load(store, "sid");
  expect(Reflect.ownKeys(session).sort()).toEqual(["cookie", "id", "req", "views"]);
});
