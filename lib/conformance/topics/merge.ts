import assert from "node:assert/strict";
import type { Serializer } from "../../index.js";
import type { DefineTest } from "../harness.js";
import { eventsOf } from "../observe.js";
import { find, lasting, load, plain, requestSession, setMaxAge, stored } from "../sessions.js";

const PARALLEL = 20;

export function mergeTests(test: DefineTest): void {
  test("two requests that change different keys lose nothing", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann", old: true, stale: true }));
    const one = await load(store, "sid");
    const two = await load(store, "sid");
    one.cart = ["book"];
    delete one.old;
    two.theme = "dark";
    delete two.stale;
    await store.set("sid", one);
    await store.set("sid", two);
    assert.deepEqual(await stored(store, "sid"), { user: "ann", cart: ["book"], theme: "dark" });
  });

  test(`${PARALLEL} requests that save different keys at the same time lose nothing`, async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }));
    const keys = Array.from({ length: PARALLEL }, (_, index) => `key-${index}`);
    const sessions = await Promise.all(keys.map(() => load(store, "sid")));
    await Promise.all(
      sessions.map((session, index) => {
        session[keys[index] as string] = index;
        return store.set("sid", session);
      }),
    );
    const expected = Object.fromEntries(keys.map((key, index) => [key, index]));
    assert.deepEqual(await stored(store, "sid"), { user: "ann", ...expected });
  });

  test("a key that both changed takes the later save's value, and event conflict names it", async ({
    open,
  }) => {
    const store = await open();
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain({ cart: ["book"], views: 1, user: "ann" }));
    const one = await load(store, "sid");
    const two = await load(store, "sid");
    Object.assign(one, { cart: ["pen"], views: 2 });
    Object.assign(two, { cart: ["ink"], user: "ben" });
    await store.set("sid", one);
    await store.set("sid", two);
    assert.deepEqual(await stored(store, "sid"), { cart: ["ink"], views: 2, user: "ben" });
    const events = await conflicts();
    assert.deepEqual(
      events.map(({ reason, keys }) => ({ reason, keys })),
      [{ reason: "merged", keys: ["cart"] }],
    );
  });

  test("a second save after a merge does not write the other's changes away", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ views: 1, cart: [] }));
    const one = await load(store, "sid");
    const two = await load(store, "sid");
    two.cart = ["book"];
    await store.set("sid", two);
    one.views = 2;
    await store.set("sid", one);
    assert.deepEqual(one.cart, [], "a request keeps its own view");
    two.theme = "dark";
    await store.set("sid", two);
    one.views = 3;
    await store.set("sid", one);
    await store.set("sid", one);
    assert.deepEqual(await stored(store, "sid"), { views: 3, cart: ["book"], theme: "dark" });
  });

  test("a save without changes, as with resave, leaves what others changed", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ views: 1, cart: [], old: true }));
    const idle = await load(store, "sid");
    const busy = await load(store, "sid");
    Object.assign(busy, { views: 2, cart: ["book"] });
    delete busy.old;
    await store.set("sid", busy);
    await store.set("sid", idle);
    await store.set("sid", idle);
    assert.deepEqual(await stored(store, "sid"), { views: 2, cart: ["book"] });
  });

  test("two requests that change different fields of the cookie lose nothing", async ({ open, clock }) => {
    const store = await open();
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", requestSession(store, "sid", lasting(60, clock)));
    const [one, two, three] = await Promise.all([1, 2, 3].map(() => load(store, "sid")));
    assert.ok(one && two && three);
    one.cookie.sameSite = "strict";
    two.cookie.path = "/app";
    setMaxAge(three, 600, clock);
    for (const session of [one, two, three]) await store.set("sid", session);
    const { sameSite, path, originalMaxAge } = (await find(store, "sid")).cookie;
    assert.deepEqual(
      { sameSite, path, originalMaxAge },
      { sameSite: "strict", path: "/app", originalMaxAge: 600_000 },
    );
    assert.deepEqual(
      (await conflicts()).flatMap(({ keys }) => keys),
      [],
    );
  });

  test("a field of the cookie that both changed takes the later save's value, and event conflict names it", async ({
    open,
    clock,
  }) => {
    const store = await open();
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", requestSession(store, "sid", lasting(60, clock)));
    const [one, two] = [await load(store, "sid"), await load(store, "sid")];
    Object.assign(one.cookie, { sameSite: "strict", domain: "one.example" });
    Object.assign(two.cookie, { sameSite: "lax" });
    await store.set("sid", one);
    await store.set("sid", two);
    const { sameSite, domain } = (await find(store, "sid")).cookie;
    assert.deepEqual({ sameSite, domain }, { sameSite: "lax", domain: "one.example" });
    assert.deepEqual(
      (await conflicts()).map(({ reason, keys }) => ({ reason, keys })),
      [{ reason: "merged", keys: ["cookie", "cookie.sameSite"] }],
    );
  });

  test("a key __proto__ is merged as data and changes no prototype", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain({ user: "ann" }));
    const [one, two] = [await find(store, "sid"), await find(store, "sid")];
    const value = { polluted: true };
    Object.defineProperty(one, "__proto__", { value, enumerable: true });
    await store.set("sid", one);
    two.theme = "dark";
    await store.set("sid", two);
    const session = await find(store, "sid");
    assert.deepEqual(Object.keys(session).sort(), ["__proto__", "cookie", "theme", "user"]);
    assert.equal(session.polluted, undefined);
    assert.equal(({} as { polluted?: unknown }).polluted, undefined);
  });

  test("values are compared as the serializer gives them back", async ({ open }) => {
    const date = /^\d{4}-\d\d-\d\dT/;
    const serializer: Serializer = {
      // Another text each time, as one that encrypts gives.
      stringify: session => `${Math.random()} ${JSON.stringify(session)}`,
      parse: text =>
        JSON.parse(text.slice(text.indexOf(" ") + 1), (_key, value) =>
          typeof value === "string" && date.test(value) ? new Date(value) : value,
        ),
    };
    const store = await open({ serializer });
    const seen = new Date("2026-01-01");
    await store.set("sid", plain({ since: new Date("2025-01-01"), seen, address: { city: "Oslo", zip: 1 } }));
    const one = await load(store, "sid");
    const two = await load(store, "sid");
    one.since = new Date("2025-06-01");
    await store.set("sid", one);
    two.address = { zip: 1, city: "Oslo" };
    two.views = 1;
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", two);
    assert.deepEqual((await conflicts())[0]?.keys, []);
    const expected = { since: new Date("2025-06-01"), seen, address: { city: "Oslo", zip: 1 }, views: 1 };
    assert.deepEqual(await stored(store, "sid"), expected);
  });
}
