import assert from "node:assert/strict";
import type { Serializer } from "../../index.js";
import type { DefineTest } from "../harness.js";
import { find, load, plain, stored, unusualSids } from "../sessions.js";

export function getTests(test: DefineTest): void {
  test("get returns null for a session that does not exist", async ({ open }) => {
    const store = await open();
    assert.equal(await store.get("sid"), null);
  });

  test("get returns what was set", async ({ open }) => {
    const store = await open();
    const fields = {
      text: "Grüße, 世界 😀 \u2028 \0 \n end",
      number: -1.5e-7,
      yes: true,
      nothing: null,
      empty: {},
      list: [1, [2, { three: "3" }], []],
      "key with spaces": { "": "and an empty key" },
      id: "not the sid",
    };
    await store.set("sid", plain(fields));
    assert.deepEqual(await stored(store, "sid"), fields);
  });

  test("get finds sessions under sids of any characters and lengths, and mixes none up", async ({ open }) => {
    const store = await open();
    await Promise.all(unusualSids.map((sid, index) => store.set(sid, plain({ index }))));
    const found = await Promise.all(unusualSids.map(sid => stored(store, sid)));
    assert.deepEqual(
      found,
      unusualSids.map((_, index) => ({ index })),
    );
  });

  test("get finds sessions under a prefix of 512 bytes", async ({ open, prefix }) => {
    const store = await open({ prefix: prefix.padEnd(512, "p") });
    for (const sid of ["sid", "s".repeat(2000)]) {
      await store.set(sid, plain({ sid }));
      assert.deepEqual(await stored(store, sid), { sid });
    }
  });

  test("get returns a new object each time, so that requests share nothing", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ cart: { items: ["book"] } }));
    const first = await find(store, "sid");
    (first.cart as { items: string[] }).items.push("pen");
    first.admin = true;
    assert.deepEqual(await stored(store, "sid"), { cart: { items: ["book"] } });
  });

  test("get shows no change that was made to a session object after its set", async ({ open }) => {
    const store = await open();
    const session = plain({ cart: ["book"] });
    const saving = store.set("sid", session);
    (session.cart as string[]).push("pen");
    await saving;
    session.admin = true;
    assert.deepEqual(await stored(store, "sid"), { cart: ["book"] });
  });

  test("get returns what createSession needs: the Session has a Date in its cookie", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }, clock.in(60)));
    const session = await load(store, "sid");
    assert.equal(session.id, "sid");
    assert.equal(session.user, "ann");
    assert.deepEqual(session.cookie.expires, clock.in(60));
    assert.equal(typeof session.save, "function");
  });

  test("get returns a session without a cookie as it was set", async ({ open }) => {
    const store = await open();
    await store.set("sid", { user: "ann" } as never);
    assert.deepEqual(await store.get("sid"), { user: "ann" });
  });

  test("a key __proto__ is data and changes no prototype", async ({ open }) => {
    const store = await open();
    const text = '{"cookie":{"originalMaxAge":null},"__proto__":{"polluted":true},"constructor":{"a":1}}';
    await store.set("sid", JSON.parse(text));
    const session = await find(store, "sid");
    assert.equal(JSON.stringify(session), text);
    assert.equal(session.polluted, undefined);
    assert.equal(({} as { polluted?: unknown }).polluted, undefined);
  });

  test("a store uses the serializer of its options and keeps every character of its text", async ({
    open,
  }) => {
    const wrapping = "\0\n\r\t\u2028 😀 {}\"'";
    const serializer: Serializer = {
      stringify: session => wrapping + JSON.stringify(session) + wrapping,
      parse: text => {
        assert.ok(text.startsWith(wrapping) && text.endsWith(wrapping));
        return JSON.parse(text.slice(wrapping.length, -wrapping.length));
      },
    };
    const store = await open({ serializer });
    const longSid = "x".repeat(2000);
    for (const sid of ["sid", longSid]) {
      await store.set(sid, plain({ user: "ann" }));
      assert.deepEqual(await stored(store, sid), { user: "ann" });
    }
  });

  test("a store waits for a serializer that is asynchronous", async ({ open }) => {
    const serializer: Serializer = {
      stringify: async session => JSON.stringify(session),
      parse: async text => JSON.parse(text),
    };
    const store = await open({ serializer });
    await store.set("sid", plain({ user: "ann" }));
    assert.deepEqual(await stored(store, "sid"), { user: "ann" });
    assert.equal((await store.all()).length, 1);
  });
}
