import assert from "node:assert/strict";
import type { AbstractStore } from "../../index.js";
import type { DefineTest } from "../harness.js";
import { fieldsOf, find, lasting, load, plain, respond, sids, unusualSids } from "../sessions.js";

/** More than backends fetch in one page. */
const MANY = 300;

async function fill(store: AbstractStore, some: readonly string[], expires?: Date): Promise<void> {
  await Promise.all(some.map(sid => store.set(sid, plain({ sid }, expires))));
}

const sorted = (some: readonly string[]) => [...some].sort();

export function listingTests(test: DefineTest): void {
  test("listings of no sessions are empty, and length is 0", async ({ open }) => {
    const store = await open();
    assert.deepEqual(await store.all(), []);
    assert.deepEqual(await store.ids(), []);
    assert.equal(await store.length(), 0);
    for await (const _entry of store.entries()) assert.fail("expected no entries");
  });

  test(`all, ids, length and entries have each of ${MANY} sessions once`, async ({ open }) => {
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

  test("all returns an array of sessions, each with its id", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }, clock.in(60)));
    assert.deepEqual(await store.all(), [
      { cookie: { originalMaxAge: null, expires: clock.in(60).toISOString() }, user: "ann", id: "sid" },
    ]);
  });

  test("entries returns pairs of a sid and what get returns", async ({ open, clock }) => {
    const store = await open();
    await fill(store, ["a", "b"], clock.in(60));
    for await (const [sid, session] of store.entries()) {
      assert.deepEqual(session, await find(store, sid));
    }
  });

  test("listings show sids of any characters as they were given", async ({ open }) => {
    const store = await open();
    await fill(store, unusualSids);
    assert.deepEqual(sorted(await store.ids()), sorted(unusualSids));
    for await (const [sid, session] of store.entries()) assert.deepEqual(fieldsOf(session), { sid });
    for (const session of await store.all()) assert.equal(session.id, (session as { sid?: string }).sid);
  });

  test("listings show no session that has ended or was destroyed", async ({ open, clock }) => {
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

  test("entries can be left early", async ({ open }) => {
    const store = await open();
    await fill(store, sids(10));
    for await (const _entry of store.entries()) break;
    assert.equal(await store.length(), 10);
  });

  test("entries shows what stays exactly once while other sessions come and go", async ({ open }) => {
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

  test("two listings share no object", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ cart: [] }));
    for (const session of await store.all()) (session as unknown as { cart: string[] }).cart.push("pen");
    assert.deepEqual(fieldsOf(await find(store, "sid")), { cart: [] });
    assert.deepEqual(fieldsOf((await store.all())[0] as never), { cart: [], id: "sid" });
  });

  test(`clear destroys all of ${MANY} sessions, and the store can be used afterwards`, async ({ open }) => {
    const store = await open();
    await fill(store, sids(MANY));
    await store.clear();
    assert.equal(await store.length(), 0);
    await store.clear();
    await store.set("sid", plain());
    assert.deepEqual(await store.ids(), ["sid"]);
  });

  test("clear destroys ended sessions too, so that a request that was running cannot save one", async ({
    open,
    clock,
  }) => {
    const store = await open();
    await store.set("sid", lasting(10, clock));
    const session = await load(store, "sid");
    clock.advance(20);
    await store.clear();
    respond(session, clock);
    await store.set("sid", session);
    assert.equal(await store.get("sid"), null);
  });
}
