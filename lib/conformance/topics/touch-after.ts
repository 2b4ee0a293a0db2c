import assert from "node:assert/strict";
import type { DefineTest } from "../harness.js";
import { find, load, plain, storedExpiry } from "../sessions.js";

export function touchAfterTests(test: DefineTest): void {
  const touchAfter = 60;

  test("lets a touch be skipped that would move the expiry by less than touchAfter", async ({
    open,
    clock,
  }) => {
    const store = await open({ touchAfter });
    const end = clock.in(600);
    await store.set("sid", plain({}, end));
    const session = await load(store, "sid");
    clock.advance(59.999);
    session.cookie.expires = clock.in(600);
    await store.touch("sid", session);
    assert.equal(await storedExpiry(store, "sid"), end.toISOString());
    clock.advance(0.001);
    session.cookie.expires = clock.in(600);
    await store.touch("sid", session);
    assert.equal(await storedExpiry(store, "sid"), clock.in(600).toISOString());
  });

  test("keeps a session touchAfter longer than its cookie says, and no longer", async ({ open, clock }) => {
    const store = await open({ touchAfter });
    await store.set("sid", plain({}, clock.in(600)));
    clock.advance(600 + touchAfter - 0.001);
    await find(store, "sid");
    clock.advance(0.001);
    assert.equal(await store.get("sid"), null);
  });

  test("gives no such time to a session that is over when it is set", async ({ open, clock }) => {
    const store = await open({ touchAfter });
    await store.set("sid", plain({}, clock.in(0)));
    assert.equal(await store.get("sid"), null);
  });

  for (const chosen of [undefined, 30]) {
    const name = chosen === undefined ? "the default touchAfter" : `a touchAfter of ${chosen} s`;
    test(`never ends a session early with ${name}`, async ({ open, clock }) => {
      const store = await open({ touchAfter: chosen });
      await store.set("sid", plain({}, clock.in(100)));
      for (const pause of [1, 3, 6, 29, 2, 99, 0.5, 99.9]) {
        clock.advance(pause);
        const session = await load(store, "sid");
        session.cookie.expires = clock.in(100);
        await store.touch("sid", session);
      }
      clock.advance(99.999);
      await find(store, "sid");
    });
  }
}
