import { randomUUID } from "node:crypto";
import type { SessionData } from "express-session";
import { Clock } from "../../lib/conformance/clock.js";
import { eventsOf } from "../../lib/conformance/observe.js";
import { find, load, plain, requestSession, stored } from "../../lib/conformance/sessions.js";
import type { AbstractStore } from "../../lib/index.js";
import { backends, type OpenBackend, useBackend } from "../helpers/stores/backends.js";

/*
 * Wrong input from an application, a clock or an earlier version. It is rejected with an error that names it, or
 * treated as missing, and the stored records are unchanged.
 */

const HOUR = 3600;

const refuse = () => {
  throw new Error("no");
};

const withCookie = (cookie: unknown, fields = {}) => ({ cookie, ...fields }) as unknown as SessionData;

describe.each(backends)("$name", backend => {
  const createStore = useBackend(backend);
  const lifetimeIs = async (store: AbstractStore, sid: string, seconds: number, clock: Clock) => {
    clock.advance(seconds - 0.001);
    expect(await store.get(sid)).not.toBeNull();
    clock.advance(0.001);
    expect(await store.get(sid)).toBeNull();
  };

  describe("a lifetime that is not a number", () => {
    it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
      "is refused with a TypeError that names it, and leaves what is stored: %p",
      async originalMaxAge => {
        const store = createStore();
        await store.set("sid", plain({ views: 1 }));
        const message = expect.stringContaining("`cookie.originalMaxAge`");
        const expected = { name: "TypeError", message };
        const session = await load(store, "sid");
        Object.assign(session.cookie, { originalMaxAge });
        for (const bad of [session, withCookie({ originalMaxAge })]) {
          await expect(store.set("sid", bad)).rejects.toMatchObject(expected);
          await expect(store.touch("sid", bad)).rejects.toMatchObject(expected);
        }
        expect(await stored(store, "sid")).toEqual({ views: 1 });
      },
    );

    it.each(["60000", true, {}, [], Symbol("never")])("counts as none if it is %p", async originalMaxAge => {
      const clock = new Clock();
      const store = createStore({ ttl: 100, touchAfter: 0, now: clock.now });
      await store.set("sid", withCookie({ originalMaxAge }));
      await lifetimeIs(store, "sid", 100, clock);
    });

    it.each([Number.NaN, Number.POSITIVE_INFINITY, "60", undefined, null])(
      "is refused with a TypeError that names it if the function ttl returns %p",
      async seconds => {
        let bad = false;
        const store = createStore({ ttl: () => (bad ? (seconds as number) : 60) });
        await store.set("sid", plain({ views: 1 }));
        const session = await load(store, "sid");
        bad = true;
        const expected = { name: "TypeError", message: expect.stringContaining("`ttl(session)`") };
        await expect(store.set("sid", session)).rejects.toMatchObject(expected);
        await expect(store.set("new", plain())).rejects.toMatchObject(expected);
        bad = false;
        expect(await stored(store, "sid")).toEqual({ views: 1 });
        expect(await store.get("new")).toBeNull();
      },
    );

    it("is the longest that a date can hold if it is longer", async () => {
      const clock = new Clock();
      const store = createStore({ now: clock.now });
      await store.set("sid", withCookie({ originalMaxAge: Number.MAX_VALUE }, { views: 1 }));
      clock.advance(1000 * 365 * 24 * HOUR);
      expect(await stored(store, "sid")).toEqual({ views: 1 });
    });
  });

  describe("a cookie that throws", () => {
    const getter = (name: string) =>
      Object.defineProperty({ originalMaxAge: null }, name, { enumerable: true, get: refuse });
    const cookies: [string, () => object][] = [
      ["from the getter of originalMaxAge", () => getter("originalMaxAge")],
      ["from the getter of expires", () => getter("expires")],
      ["from the getter of a field of its own", () => getter("custom")],
      ["from its toJSON", () => ({ originalMaxAge: null, toJSON: refuse })],
      ["from a toJSON that is a getter", () => getter("toJSON")],
      ["as a proxy", () => new Proxy({}, { get: refuse, ownKeys: refuse })],
    ];

    it.each(cookies)("%s is refused by a save, and leaves what is stored", async (_name, cookie) => {
      const store = createStore();
      await store.set("sid", plain({ views: 1 }));
      const session = await load(store, "sid");
      session.cookie = cookie() as never;
      const begun = requestSession(store, "sid", plain());
      begun.cookie = cookie() as never;
      for (const bad of [session, begun, withCookie(cookie())]) {
        await expect(store.set("sid", bad)).rejects.toMatchObject({ code: "ERR_SESSION_SERIALIZE" });
      }
      expect(await stored(store, "sid")).toEqual({ views: 1 });
    });

    it.each(cookies)("%s does not fail a touch", async (_name, cookie) => {
      const clock = new Clock();
      const store = createStore({ ttl: 100, touchAfter: 0, now: clock.now });
      await store.set("sid", plain({ views: 1 }));
      clock.advance(50);
      await store.touch("sid", withCookie(cookie()));
      expect(await stored(store, "sid")).toEqual({ views: 1 });
      await lifetimeIs(store, "sid", 100, clock);
    });
  });

  describe("a session that is none", () => {
    it.each([null, undefined, "session", 1, true, [], () => {}])(
      "%p is refused with a TypeError",
      async session => {
        const store = createStore();
        for (const method of ["set", "touch"] as const) {
          const call = store[method]("sid", session as never);
          await expect(call).rejects.toMatchObject({
            name: "TypeError",
            message: expect.stringContaining("`session`"),
          });
        }
        expect(await store.length()).toBe(0);
      },
    );
  });

  describe("a clock that jumps", () => {
    it("back an hour ends no session, and an hour is all that a session lives longer", async () => {
      const clock = new Clock();
      const store = createStore({ ttl: 600, touchAfter: 0, now: clock.now });
      await store.set("sid", plain({ views: 1 }));
      const session = await load(store, "sid");
      clock.advance(-HOUR);
      expect(await stored(store, "sid")).toEqual({ views: 1 });
      await store.touch("sid", await load(store, "sid"));
      await store.set("sid", Object.assign(session, { views: 2 }));
      await store.set("sid", Object.assign(await load(store, "sid"), { more: 1 }));
      expect(await stored(store, "sid")).toEqual({ views: 2, more: 1 });
      await lifetimeIs(store, "sid", HOUR + 600, clock);
    });

    it("back an hour keeps a logout a logout, and lets the user sign in", async () => {
      const clock = new Clock();
      const store = createStore({ now: clock.now });
      await store.set("sid", plain({ views: 1 }));
      const session = await load(store, "sid");
      await store.destroy("sid");
      clock.advance(-HOUR);
      await store.set("sid", session);
      await store.touch("sid", session);
      expect(await store.get("sid")).toBeNull();
      const again = requestSession(store, "sid", plain({ user: "ann" }));
      await store.set("sid", again);
      expect(await stored(store, "sid")).toEqual({ user: "ann" });
    });

    it("back an hour does not stop touches: a session in use lives on", async () => {
      const clock = new Clock();
      const store = createStore({ ttl: 600, now: clock.now });
      await store.set("sid", plain());
      clock.advance(-HOUR);
      for (let minutes = 0; minutes < 90; minutes += 5) {
        clock.advance(300);
        const session = await store.get("sid");
        expect(session).not.toBeNull();
        await store.touch("sid", session as SessionData);
      }
    });

    it("ahead and back again ends the sessions of nobody who was not away for so long", async () => {
      const clock = new Clock();
      const store = createStore({ ttl: 600, touchAfter: 0, now: clock.now });
      await store.set("sid", plain({ views: 1 }));
      clock.advance(HOUR);
      expect(await store.get("sid")).toBeNull();
      clock.advance(-HOUR);
      expect(await stored(store, "sid")).toEqual({ views: 1 });
    });

    it("to a fraction of a millisecond changes nothing", async () => {
      const clock = new Clock();
      const store = createStore({ ttl: 600, touchAfter: 0, now: () => clock.now() + 0.75 });
      await store.set(
        "sid",
        withCookie({ originalMaxAge: 600_000.4, expires: new Date(clock.now() + 600_000) }),
      );
      const session = await load(store, "sid");
      await store.touch("sid", session);
      await store.set("sid", Object.assign(session, { views: 1 }));
      expect(await find(store, "sid")).toMatchObject({ views: 1 });
    });
  });
});

describe.each(backends.filter(({ persistent }) => persistent))(
  "a record of version 0.1 in $name",
  backend => {
    let opened: OpenBackend;
    let store: AbstractStore;
    const clock = new Clock();

    beforeAll(async () => {
      opened = await backend.open();
    });
    afterAll(() => opened.close());
    beforeEach(async () => {
      const prefix = `${randomUUID()}:`;
      const now = Date.now();
      for (const [sid, expiresAt] of Object.entries({ alive: now + HOUR * 1000, ended: now - 30_000 })) {
        await opened.putOld?.(`${prefix}${sid}`, {
          data: JSON.stringify({ cookie: { originalMaxAge: null }, user: "ann" }),
          version: "Zm9vYmFy1.Zm9vYmFy2",
          expiresAt,
          slack: 60_000,
          createdAt: now - 2 * HOUR * 1000,
        });
      }
      store = opened.createStore({ prefix, now: clock.now });
    });
    afterEach(() => store.close());

    it("is absent, reported as corrupt, and left alone", async () => {
      const corrupt = eventsOf(store, "corrupt");
      for (const sid of ["alive", "ended"]) expect(await store.get(sid)).toBeNull();
      expect(await corrupt()).toHaveLength(2);
      expect(await store.all()).toEqual([]);
      expect(await corrupt()).toHaveLength(4);
      expect([await store.ids(), await store.length()]).toEqual([[], 0]);
      await store.touch("alive", plain());
      await sweep(store);
      for (const sid of ["alive", "ended"]) expect(await store.get(sid)).toBeNull();
      expect(await corrupt()).toHaveLength(6);
    });

    it("is not overwritten by a save, which says what to do", async () => {
      for (const session of [plain(), requestSession(store, "alive", plain())]) {
        await expect(store.set("alive", session)).rejects.toMatchObject({
          code: "ERR_SESSION_SERIALIZE",
          message: expect.stringContaining("destroy the session first"),
        });
      }
      const corrupt = eventsOf(store, "corrupt");
      expect(await store.get("alive")).toBeNull();
      expect(await corrupt()).toHaveLength(1);
    });

    it("is removed by destroy, and then another session may have its id", async () => {
      const corrupt = eventsOf(store, "corrupt");
      await store.destroy("alive");
      expect(await store.get("alive")).toBeNull();
      expect(await corrupt()).toEqual([]);
      await store.set("alive", requestSession(store, "alive", plain({ user: "ben" })));
      expect(await stored(store, "alive")).toEqual({ user: "ben" });
    });

    it("is removed by clear", async () => {
      await store.clear();
      const corrupt = eventsOf(store, "corrupt");
      for (const sid of ["alive", "ended"]) expect(await store.get(sid)).toBeNull();
      expect(await corrupt()).toEqual([]);
    });
  },
);

/** Runs the sweep of stores that have one. */
async function sweep(store: AbstractStore): Promise<void> {
  await (store as { cleanup?: () => Promise<unknown> }).cleanup?.();
}
