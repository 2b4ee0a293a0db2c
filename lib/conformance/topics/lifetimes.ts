import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import {
  assertEndsIn,
  find,
  lasting,
  load,
  plain,
  requestSession,
  respond,
  stored,
  storedExpiry,
  type TestSession,
  visit,
} from "../sessions.js";

export function lifetimeTests(test: DefineTest): void {
  test("a session ends to the millisecond after its cookie's maxAge, be it 5 ms", async ({ open, clock }) => {
    const store = await open();
    for (const seconds of [0.005, 1.5, 60]) {
      await store.set(`sid-${seconds}`, lasting(seconds, clock));
      await assertEndsIn(seconds, store, `sid-${seconds}`, clock);
    }
  });

  test("a session whose cookie has an expiry and no maxAge ends then, be it a date or text", async ({
    open,
    clock,
  }) => {
    const store = await open();
    const [expires, text] = [clock.in(10), clock.in(10).toISOString()];
    await store.set("date", plain({}, expires));
    await store.set("text", { cookie: { originalMaxAge: null, expires: text as unknown as Date } });
    assert.equal(await storedExpiry(store, "date"), text);
    assert.equal(await storedExpiry(store, "text"), text);
    clock.advance(9.999);
    assert.equal(await store.length(), 2);
    clock.advance(0.001);
    assert.equal(await store.length(), 0);
  });

  test("a session without maxAge keeps its lifetime until a save brings another expiry", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(60)));
    clock.advance(50);
    const session = await find(store, "sid");
    session.views = 1;
    await store.set("sid", session);
    assert.equal(await storedExpiry(store, "sid"), clock.in(60).toISOString());
    const shortened = await find(store, "sid");
    shortened.cookie.expires = clock.in(10);
    await store.set("sid", shortened);
    assert.deepEqual(await stored(store, "sid"), { views: 1 });
    await assertEndsIn(10, store, "sid", clock);
  });

  test("a session whose cookie has no expiry ends after ttl, fractions of seconds included", async ({
    open,
    clock,
  }) => {
    for (const ttl of [10, 0.25]) {
      const store = await open({ ttl });
      await store.set(`sid-${ttl}`, plain());
      await assertEndsIn(ttl, store, `sid-${ttl}`, clock);
    }
  });

  test("a ttl function is called for each session", async ({ open, clock }) => {
    const store = await open({ ttl: session => ("admin" in session ? 10 : 100) });
    await store.set("admin", plain({ admin: true }));
    await store.set("user", plain());
    await assertEndsIn(10, store, "admin", clock);
    await assertEndsIn(90, store, "user", clock);
  });

  test("a ttl function ends a session by returning 0 or less", async ({ open }) => {
    for (const ttl of [0, -1]) {
      const store = await open({ ttl: session => ("over" in session ? ttl : 100) });
      await store.set("sid", plain());
      await store.set("sid", plain({ over: true }));
      assert.equal(await store.get("sid"), null);
    }
  });

  test("set rejects a ttl function's result that is no number with a TypeError and leaves the record", async ({
    open,
  }) => {
    for (const ttl of [Number.NaN, Number.POSITIVE_INFINITY, "10", undefined]) {
      const store = await open({ ttl: session => ("odd" in session ? (ttl as number) : 100) });
      await store.set("sid", plain({ user: "ann" }));
      await assert.rejects(store.set("sid", plain({ odd: true })), { name: "TypeError", message: /ttl/ });
      assert.deepEqual(await stored(store, "sid"), { user: "ann" });
    }
  });

  test("set and touch reject an originalMaxAge that is not finite with a TypeError and leave the record", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", lasting(10, clock, { user: "ann" }));
    for (const originalMaxAge of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const session = await load(store, "sid");
      session.cookie.originalMaxAge = originalMaxAge;
      const wrong = { name: "TypeError", message: /originalMaxAge/ };
      for (const each of [session, { cookie: { originalMaxAge } }]) {
        await assert.rejects(store.set("sid", each), wrong);
        await assert.rejects(store.touch("sid", each), wrong);
      }
    }
    assert.deepEqual(await stored(store, "sid"), { user: "ann" });
    await assertEndsIn(10, store, "sid", clock);
  });

  const unreadable = {
    valueOf: () => {
      throw new Error("unreadable");
    },
  };
  const noDates = [
    new Date(Number.NaN),
    "tomorrow",
    "",
    {},
    null,
    false,
    Number.NaN,
    Symbol("date"),
    unreadable,
  ];
  const invalid = noDates as unknown as Date[];
  test("a cookie.expires that is no date counts as none", async ({ open, clock }) => {
    const store = await open({ ttl: 10 });
    await Promise.all(invalid.map((expires, index) => store.set(`sid-${index}`, plain({}, expires))));
    clock.advance(9.999);
    assert.equal(await store.length(), invalid.length);
    clock.advance(0.001);
    assert.equal(await store.length(), 0);
  });

  test("a session whose cookie ends thousands of years ahead is kept", async ({ open }) => {
    const store = await open();
    const expires = new Date("9999-12-31T23:59:59.999Z");
    await store.set("sid", plain({}, expires));
    await store.touch("sid", plain({}, expires));
    assert.equal(await storedExpiry(store, "sid"), expires.toISOString());
  });

  test("a session whose ttl or maxAge is as long as numbers go is kept", async ({ open, clock }) => {
    for (const long of [Number.MAX_SAFE_INTEGER, Number.MAX_VALUE]) {
      const store = await open({ ttl: long });
      await store.set("ttl", plain());
      await store.set("maxAge", { cookie: { originalMaxAge: long } });
      clock.advance(1);
      for (const sid of ["ttl", "maxAge"]) {
        await visit(store, sid, { ...clock, in: () => new Date(8.64e15) });
        await find(store, sid);
      }
      await store.set("both", { cookie: { originalMaxAge: long, expires: clock.in(60) } });
      await find(store, "both");
    }
  });

  test("a request that was running when its session ended can still save it within a minute", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", lasting(10, clock, { user: "ann" }));
    const session = await load(store, "sid");
    clock.advance(10 + 59.999);
    assert.equal(await store.get("sid"), null);
    session.views = 1;
    respond(session, clock);
    await store.set("sid", session);
    assert.deepEqual(await stored(store, "sid"), { user: "ann", views: 1 });
    await assertEndsIn(10, store, "sid", clock);
  });

  test("the touch at the end of a slow response counts as a use when the response began, also if the session ended since", async ({
    open,
    clock,
  }) => {
    const store = await open({ touchAfter: 0 });
    await store.set("sid", lasting(600, clock));
    clock.advance(590);
    const slow = await load(store, "sid");
    respond(slow, clock);
    clock.advance(20);
    assert.equal(await store.get("sid"), null);
    await store.touch("sid", slow);
    await assertEndsIn(580, store, "sid", clock);
    await store.touch("sid", slow);
    assert.equal(await store.get("sid"), null);
  });

  test("get shows the current expiry whatever the serializer makes of express-session's Cookie", async ({
    open,
    clock,
  }) => {
    // As serializers do that copy properties and do not ask for toJSON.
    const stringify = (session: object) => {
      const { cookie, ...fields } = session as TestSession;
      return JSON.stringify({ ...fields, cookie: { ...cookie } });
    };
    const store = await open({ serializer: { stringify, parse: JSON.parse } });
    await store.set("sid", requestSession(store, "sid", lasting(60, clock)));
    clock.advance(30);
    await visit(store, "sid", clock);
    assert.deepEqual((await load(store, "sid")).cookie.expires, clock.in(60));
  });
}
