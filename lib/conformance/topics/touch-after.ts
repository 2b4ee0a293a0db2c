import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import {
  assertEndsIn,
  find,
  lasting,
  load,
  respond,
  setMaxAge,
  stored,
  storedExpiry,
  visit,
} from "../sessions.js";

export function touchAfterTests(test: DefineTest): void {
  const touchAfter = 60;

  test("a touch that would move the last use by less than touchAfter is skipped", async ({ open, clock }) => {
    const store = await open({ touchAfter });
    await store.set("sid", lasting(600, clock));
    const end = clock.in(600);
    clock.advance(59.999);
    await visit(store, "sid", clock);
    assert.equal(await storedExpiry(store, "sid"), end.toISOString());
    clock.advance(0.001);
    await visit(store, "sid", clock);
    assert.equal(await storedExpiry(store, "sid"), clock.in(600).toISOString());
  });

  test("a session is found until touchAfter after its expiry, and no longer", async ({ open, clock }) => {
    const store = await open({ touchAfter });
    await store.set("sid", lasting(600, clock));
    await assertEndsIn(600 + touchAfter, store, "sid", clock);
  });

  test("no session that is found shows an expiry that is past", async ({ open, clock }) => {
    const store = await open({ touchAfter });
    await store.set("sid", lasting(600, clock, { user: "ann" }));
    for (const seconds of [600, 59.999]) {
      clock.advance(seconds);
      const expiries = [await storedExpiry(store, "sid"), (await store.all())[0]?.cookie.expires];
      for await (const [, session] of store.entries()) expiries.push(session.cookie.expires);
      for (const expiry of expiries) assert.ok(Date.parse(String(expiry)) > clock.now(), `${expiry} is past`);
    }
    // As Passport does when a user signs in: it copies the session into one with another id.
    const { cookie, user } = await find(store, "sid");
    await store.set("copy", { cookie: { ...cookie }, user } as never);
    assert.deepEqual(await stored(store, "copy"), { user: "ann" });
  });

  test("a session that ends by its request's wish does so at once", async ({ open, clock }) => {
    const store = await open({ touchAfter });
    await store.set("sid", lasting(600, clock));
    await store.set("sid", lasting(0, clock));
    assert.equal(await store.get("sid"), null);
  });

  for (const chosen of [undefined, 30]) {
    const name = chosen === undefined ? "the default touchAfter" : `a touchAfter of ${chosen} s`;
    test(`no session ends early with ${name}`, async ({ open, clock }) => {
      const store = await open({ touchAfter: chosen });
      await store.set("sid", lasting(100, clock));
      for (const pause of [1, 3, 6, 29, 2, 99, 0.5, 99.9]) {
        clock.advance(pause);
        await visit(store, "sid", clock);
      }
      clock.advance(99.999);
      await find(store, "sid");
    });
  }

  for (const chosen of [undefined, 300]) {
    const name = chosen === undefined ? "the default touchAfter" : `a touchAfter of ${chosen} s`;
    test(`a slow response after a skipped touch does not end the session early, with ${name}`, async ({
      open,
      clock,
    }) => {
      for (const conflict of ["merge", "overwrite", "error"] as const) {
        const store = await open({ touchAfter: chosen, conflict });
        await store.set("sid", lasting(600, clock));
        const download = await load(store, "sid");
        clock.advance(1);
        respond(download, clock);
        clock.advance(24);
        await visit(store, "sid", clock);
        clock.advance(475);
        download.downloads = 1;
        await store.set("sid", download);
        clock.advance(600 - 475 - 0.001);
        assert.deepEqual(await stored(store, "sid"), { downloads: 1 });
        await store.destroy("sid");
      }
    });
  }

  test("a shorter lifetime leaves the time for touches that were skipped before", async ({ open, clock }) => {
    const store = await open();
    await store.set("sid", lasting(600, clock));
    const slow = await load(store, "sid");
    setMaxAge(slow, 60, clock);
    clock.advance(25);
    await visit(store, "sid", clock);
    clock.advance(15);
    await store.set("sid", slow);
    // The visit was 15 s ago.
    clock.advance(60 - 15 - 0.001);
    await find(store, "sid");
    // touchAfter of a lifetime of 60 s is 3 s, and of one of 600 s it is 30 s.
    clock.advance(30);
    assert.equal(await store.get("sid"), null);
  });

  test("a save in the middle of a request leaves the time for skipped touches", async ({ open, clock }) => {
    for (const conflict of ["merge", "overwrite", "error"] as const) {
      const store = await open({ conflict, touchAfter });
      await store.set("sid", lasting(600, clock));
      clock.advance(30);
      await visit(store, "sid", clock);
      clock.advance(560);
      const session = await load(store, "sid");
      session.progress = 1;
      await store.set("sid", session);
      assert.deepEqual(await stored(store, "sid"), { progress: 1 });
      await assertEndsIn(600 + touchAfter, store, "sid", clock);
    }
  });
}
