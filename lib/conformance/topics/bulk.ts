import assert from "node:assert/strict";
import type { AbstractStore } from "../../index.js";
import type { DefineTest } from "../harness.js";
import { fieldsOf, find, load, plain, sids, unusualSids } from "../sessions.js";

/** More than backends fetch in one page. */
const MANY = 300;

async function fill(store: AbstractStore, some: readonly string[], expires?: Date): Promise<void> {
  await Promise.all(some.map(sid => store.set(sid, plain({ sid }, expires))));
}

const sorted = (some: readonly string[]) => [...some].sort();

export function bulkTests(test: DefineTest): void {
  test("lists nothing and counts 0 when there are no sessions", async ({ open }) => {
    const store = await open();
    assert.deepEqual(await store.all(), []);
    assert.deepEqual(await store.ids(), []);
    assert.equal(await store.length(), 0);
    for await (const _entry of store.entries()) assert.fail("expected no entries");
  });

  test(`lists each of ${MANY} sessions once, in all, ids, length and entries`, async ({ open }) => {
    const store = await open();
    const expected = sids(MANY);
    await fill(store, expected);
    assert.equal(await store.length(), MANY);
    assert.deepEqual(sorted(await store.ids()), sorted(expected));
    assert.deepEqual(sorted((await store.all()).map(({ id }) => id)), sorted(expected));
    const entries: string[] = [];
    for await (const [sid] of store.entries()) entries.push(sid);
    assert.deepEqual(sorted(entries), sorted(expected));
  });

  test("gives all as an array of sessions, each with its id", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }, clock.in(60)));
    assert.deepEqual(await store.all(), [
      { cookie: { originalMaxAge: null, expires: clock.in(60).toISOString() }, user: "ann", id: "sid" },
    ]);
  });

  test("gives entries as pairs of a sid and what get returns", async ({ open, clock }) => {
    const store = await open();
    await fill(store, ["a", "b"], clock.in(60));
    for await (const [sid, session] of store.entries()) {
      assert.deepEqual(session, await find(store, sid));
    }
  });

  test("lists sids of any characters as they were given", async ({ open }) => {
    const store = await open();
    await fill(store, unusualSids);
    assert.deepEqual(sorted(await store.ids()), sorted(unusualSids));
    for await (const [sid, session] of store.entries()) assert.deepEqual(fieldsOf(session), { sid });
    for (const session of await store.all()) assert.equal(session.id, (session as { sid?: string }).sid);
  });

  test("lists no session that has expired or was destroyed", async ({ open, clock }) => {
    const store = await open();
    await fill(store, ["short", "shorter"], clock.in(10));
    await fill(store, ["long", "longer"], clock.in(60));
    await store.destroy("longer");
    clock.advance(10);
    assert.deepEqual(await store.ids(), ["long"]);
    assert.equal(await store.length(), 1);
    assert.deepEqual(
      (await store.all()).map(({ id }) => id),
      ["long"],
    );
    for await (const [sid] of store.entries()) assert.equal(sid, "long");
  });

  test("lets entries be left early", async ({ open }) => {
    const store = await open();
    await fill(store, sids(10));
    for await (const _entry of store.entries()) break;
    assert.equal(await store.length(), 10);
  });

  test("lists what stays exactly once while other sessions come and go", async ({ open }) => {
    const store = await open();
    const all = sids(MANY);
    await fill(store, all);
    const staying = all.filter((_, index) => index % 2 === 0);
    const leaving = new Set(all.filter((_, index) => index % 2 === 1));
    const seen: string[] = [];
    for await (const [sid] of store.entries()) {
      seen.push(sid);
      if (seen.length % 20 === 0) await store.set(`${sid}-new`, plain());
      if (seen.length % 20 === 10) await store.set(sid, plain({ changed: true }));
      if (leaving.has(sid) && seen.length % 3 > 0) await store.destroy(sid);
    }
    assert.deepEqual(sorted(seen.filter(sid => staying.includes(sid))), sorted(staying));
  });

  test("shares no object between two listings", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ cart: [] }));
    for (const session of await store.all()) (session as unknown as { cart: string[] }).cart.push("pen");
    assert.deepEqual(fieldsOf(await find(store, "sid")), { cart: [] });
    assert.deepEqual(fieldsOf((await store.all())[0] as never), { cart: [], id: "sid" });
  });

  test(`clears all of ${MANY} sessions and can be used afterwards`, async ({ open }) => {
    const store = await open();
    await fill(store, sids(MANY));
    await store.clear();
    assert.equal(await store.length(), 0);
    await store.clear();
    await store.set("sid", plain());
    assert.deepEqual(await store.ids(), ["sid"]);
  });

  test("clears expired sessions too, so that a request that was running cannot save one", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", plain({}, clock.in(10)));
    const session = await load(store, "sid");
    clock.advance(20);
    await store.clear();
    session.cookie.expires = clock.in(60);
    await store.set("sid", session);
    assert.equal(await store.get("sid"), null);
  });
}
