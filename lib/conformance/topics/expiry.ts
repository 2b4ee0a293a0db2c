import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import {
  assertEndsIn,
  find,
  load,
  plain,
  requestSession,
  stored,
  storedExpiry,
  type TestSession,
} from "../sessions.js";

export function expiryTests(test: DefineTest): void {
  test("ends a session to the millisecond at cookie.expires, be it in 5 ms", async ({ open, clock }) => {
    const store = await open();
    for (const seconds of [0.005, 1.5, 60]) {
      await store.set("sid", plain({}, clock.in(seconds)));
      await assertEndsIn(seconds, store, "sid", clock);
    }
  });

  test("takes cookie.expires as a date and as text", async ({ open, clock }) => {
    const store = await open();
    const expires = clock.in(10).toISOString() as unknown as Date;
    await store.set("sid", { cookie: { originalMaxAge: null, expires } });
    assert.equal(await storedExpiry(store, "sid"), expires);
    await assertEndsIn(10, store, "sid", clock);
  });

  test("ends a session whose cookie has no expiry after ttl, fractions of seconds included", async ({
    open,
    clock,
  }) => {
    for (const ttl of [10, 0.25]) {
      const store = await open({ ttl });
      await store.set("sid", plain());
      await assertEndsIn(ttl, store, "sid", clock);
    }
  });

  test("asks a ttl function for each session", async ({ open, clock }) => {
    const store = await open({ ttl: session => ("admin" in session ? 10 : 100) });
    await store.set("admin", plain({ admin: true }));
    await store.set("user", plain());
    await assertEndsIn(10, store, "admin", clock);
    await assertEndsIn(90, store, "user", clock);
  });

  test("takes a ttl function's 0 or less for a session that is over", async ({ open }) => {
    for (const ttl of [0, -1]) {
      const store = await open({ ttl: session => ("over" in session ? ttl : 100) });
      await store.set("sid", plain());
      await store.set("sid", plain({ over: true }));
      assert.equal(await store.get("sid"), null);
    }
  });

  test("rejects what is no number from a ttl function with a TypeError and leaves the record", async ({
    open,
  }) => {
    for (const ttl of [Number.NaN, Number.POSITIVE_INFINITY, "10", undefined]) {
      const store = await open({ ttl: session => ("odd" in session ? (ttl as number) : 100) });
      await store.set("sid", plain({ user: "ann" }));
      await assert.rejects(store.set("sid", plain({ odd: true })), { name: "TypeError", message: /ttl/ });
      assert.deepEqual(await stored(store, "sid"), { user: "ann" });
    }
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
  test("takes a cookie.expires that is no date for none", async ({ open, clock }) => {
    const store = await open({ ttl: 10 });
    await Promise.all(invalid.map((expires, index) => store.set(`sid-${index}`, plain({}, expires))));
    clock.advance(9.999);
    assert.equal(await store.length(), invalid.length);
    clock.advance(0.001);
    assert.equal(await store.length(), 0);
  });

  test("keeps a session whose cookie ends thousands of years ahead", async ({ open }) => {
    const store = await open();
    const expires = new Date("9999-12-31T23:59:59.999Z");
    await store.set("sid", plain({}, expires));
    await store.touch("sid", plain({}, expires));
    assert.equal(await storedExpiry(store, "sid"), expires.toISOString());
  });

  test("lets a request that was running when its session lapsed still save it", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }, clock.in(10)));
    const session = await load(store, "sid");
    clock.advance(10 + 59);
    assert.equal(await store.get("sid"), null);
    session.views = 1;
    session.cookie.expires = clock.in(10);
    await store.set("sid", session);
    assert.deepEqual(await stored(store, "sid"), { user: "ann", views: 1 });
  });

  test("keeps a session whose ttl is as long as numbers go", async ({ open }) => {
    for (const ttl of [Number.MAX_SAFE_INTEGER, Number.MAX_VALUE]) {
      const store = await open({ ttl });
      await store.set("sid", plain());
      await store.touch("sid", plain());
      await find(store, "sid");
    }
  });

  test("gives back the current expiry whatever the serializer makes of express-session's Cookie", async ({
    open,
    clock,
  }) => {
    // As serializers do that copy properties and do not ask for toJSON.
    const stringify = (session: object) => {
      const { cookie, ...fields } = session as TestSession;
      return JSON.stringify({ ...fields, cookie: { ...cookie } });
    };
    const store = await open({ serializer: { stringify, parse: JSON.parse } });
    await store.set("sid", requestSession(store, "sid", plain({}, clock.in(60))));
    await store.touch("sid", plain({}, clock.in(600)));
    assert.deepEqual((await load(store, "sid")).cookie.expires, clock.in(600));
  });
}
