import assert from "node:assert/strict";
import type { DefineTest } from "../../harness.js";
import { newOperation, primitivesOf } from "../../primitives.js";
import { load, plain, requestSession, respond, stored } from "../../sessions.js";
import {
  assertDevices,
  deviceOf,
  handleOf,
  openWithUsers,
  sessionsOf,
  signIn,
  signInAll,
} from "../../user-sessions.js";

const DAY_SECONDS = 24 * 60 * 60;

export function findByUserTests(test: DefineTest): void {
  test("findByUser yields the live sessions of a user, the last used first", async harness => {
    const store = await openWithUsers(harness);
    const { clock } = harness;
    await signInAll(store, "bob", "b1");
    await signInAll(store, "ann", "a1");
    const signedInAt = clock.now();
    clock.advance(10);
    await signInAll(store, "ann", "a2");
    await store.set("anonymous", plain());
    clock.advance(10);
    const session = await load(store, "a1");
    await store.touch("a1", session);
    const found = await sessionsOf(store, "ann", { current: "a2" });
    assert.deepEqual(
      found.map(({ session, isCurrent }) => [deviceOf(session), isCurrent]),
      [
        ["a1", false],
        ["a2", true],
      ],
    );
    const [first] = found;
    assert.equal(first?.createdAt.getTime(), signedInAt);
    assert.equal(first?.activeAt.getTime(), clock.now());
    assert.equal(first?.expiresAt.getTime(), clock.now() + DAY_SECONDS * 1000);
    await assertDevices(store, { ann: ["a1", "a2"], bob: ["b1"], eve: [] });
  });

  test("findByUser yields no session that ends while its consumer is busy with another one", async harness => {
    const store = await openWithUsers(harness);
    const { clock } = harness;
    await signInAll(store, "ann", "a1");
    clock.advance(10);
    await signInAll(store, "ann", "a2");
    const devices: unknown[] = [];
    for await (const { session } of store.findByUser("ann")) {
      devices.push(deviceOf(session));
      clock.advance(2 * DAY_SECONDS);
    }
    assert.deepEqual(devices, ["a2"]);
  });

  test("what findByUser yields can be saved, and its sids are nowhere in it", async harness => {
    const store = await openWithUsers(harness);
    await store.set("secret-sid", requestSession(store, "secret-sid", plain({ user: "ann" })));
    for (const found of await sessionsOf(store, "ann")) {
      assert.ok(!JSON.stringify(found).includes("secret-sid"));
      Object.assign(found.session, { seen: true });
      await store.set("secret-sid", found.session);
    }
    assert.deepEqual(await stored(store, "secret-sid"), { user: "ann", seen: true });
  });

  test("a handle stays the same for the life of a session, and is of this session alone", async harness => {
    const store = await openWithUsers(harness);
    await signInAll(store, "ann", "a1", "a2");
    const handle = await handleOf(store, "ann", "a1");
    assert.notEqual(handle, await handleOf(store, "ann", "a2"));
    for (let visit = 0; visit < 8; visit++) {
      harness.clock.advance(60);
      const session = await load(store, "a1");
      await store.touch("a1", session);
      await store.set("a1", Object.assign(session, { visit }));
    }
    assert.equal(await handleOf(store, "ann", "a1"), handle);
    await store.destroy("a1");
    await signIn(store, "a1", "ann");
    assert.notEqual(await handleOf(store, "ann", "a1"), handle);
  });

  test("a session that gets another user moves to that user's list", async harness => {
    const store = await openWithUsers(harness);
    await store.set("s", requestSession(store, "s", plain({ device: "s" })));
    await assertDevices(store, { ann: [], bob: [] });
    const steps = [
      ["ann", { ann: ["s"], bob: [] }],
      ["bob", { ann: [], bob: ["s"] }],
      ["ann", { ann: ["s"], bob: [] }],
      [undefined, { ann: [], bob: [] }],
      ["bob", { ann: [], bob: ["s"] }],
    ] as const;
    for (const [user, expected] of steps) {
      const session = await load(store, "s");
      session.user = user;
      await store.set("s", session);
      await assertDevices(store, expected as unknown as Record<string, string[]>);
    }
  });

  test("parallel requests of one session that change the user and other keys are merged", async harness => {
    const store = await openWithUsers(harness);
    await store.set("s", requestSession(store, "s", plain({ device: "s" })));
    const [signingIn, slow] = [await load(store, "s"), await load(store, "s")];
    await store.set("s", Object.assign(signingIn, { user: "ann" }));
    await store.set("s", Object.assign(slow, { cart: 1 }));
    await assertDevices(store, { ann: ["s"] });
    const [signingOut, other] = [await load(store, "s"), await load(store, "s")];
    delete signingOut.user;
    await store.set("s", Object.assign(other, { cart: 2 }));
    await store.set("s", signingOut);
    await assertDevices(store, { ann: [] });
    assert.deepEqual(await stored(store, "s"), { device: "s", cart: 2 });
  });

  test("ended, destroyed and cleared sessions are not shown", async harness => {
    const store = await openWithUsers(harness, { ttl: 100 });
    await signInAll(store, "ann", "ended");
    harness.clock.advance(50);
    await signInAll(store, "ann", "destroyed", "live");
    await store.destroy("destroyed");
    harness.clock.advance(50);
    await assertDevices(store, { ann: ["live"] });
    const session = await load(store, "live");
    session.cookie.originalMaxAge = 0;
    await store.set("live", session);
    await assertDevices(store, { ann: [] });
    await signInAll(store, "ann", "cleared");
    await store.clear();
    await assertDevices(store, { ann: [] });
  });

  test("a session that is used for weeks stays in the list", async harness => {
    const store = await openWithUsers(harness);
    const { clock } = harness;
    const session = plain({ user: "ann", device: "s" });
    session.cookie.originalMaxAge = 2 * DAY_SECONDS * 1000;
    await store.set("s", requestSession(store, "s", session));
    for (let day = 0; day < 30; day++) {
      clock.advance(DAY_SECONDS);
      const request = await load(store, "s");
      respond(request, clock);
      if (day % 3 === 0) await store.set("s", Object.assign(request, { day }));
      else await store.touch("s", request);
      await assertDevices(store, { ann: ["s"] });
    }
  });

  test("a session whose use is only touched stays in the list for weeks", async harness => {
    const store = await openWithUsers(harness, { ttl: 2 * DAY_SECONDS });
    await signIn(store, "s", "ann");
    for (let day = 0; day < 30; day++) {
      harness.clock.advance(DAY_SECONDS);
      await store.touch("s", await load(store, "s"));
      await assertDevices(store, { ann: ["s"] });
    }
  });

  test("a touch by a request from before the sign-in leaves the session in the list", async harness => {
    const store = await openWithUsers(harness, { ttl: DAY_SECONDS });
    const { clock } = harness;
    for (const before of [undefined, "bob"]) {
      await store.set("s", requestSession(store, "s", plain({ user: before, device: "s" })));
      clock.advance(DAY_SECONDS - 60);
      const [slow, signingIn] = [await load(store, "s"), await load(store, "s")];
      await store.set("s", Object.assign(signingIn, { user: "ann" }));
      // The lifetime from the creation is over, which is when entries are renewed.
      clock.advance(120);
      await store.touch("s", slow);
      for (let visit = 0; visit < 15; visit++) {
        clock.advance(DAY_SECONDS / 8);
        if (visit < 7) await store.touch("s", await load(store, "s"));
        await assertDevices(store, { ann: visit < 14 ? ["s"] : [], bob: [] });
      }
      clock.advance(DAY_SECONDS);
    }
  });

  test("reindex files sessions whose entries were lost", async harness => {
    const store = await openWithUsers(harness);
    await signInAll(store, "ann", "a1", "a2", "a3");
    const { _listUser, _removeEntries } = primitivesOf(store);
    const { sessions } = await _listUser.call(store, "ann", newOperation());
    await _removeEntries.call(store, "ann", sessions.slice(1), newOperation());
    for await (const _progress of store.reindex());
    await assertDevices(store, { ann: ["a1", "a2", "a3"] });
    assert.equal(await store.destroyByUser("ann"), 3);
  });

  test("a session whose lifetime grows stays in the list", async harness => {
    const store = await openWithUsers(harness, { ttl: 600 });
    const { clock } = harness;
    await signIn(store, "s", "ann");
    const session = await load(store, "s");
    session.cookie.originalMaxAge = 30 * DAY_SECONDS * 1000;
    respond(session, clock);
    await store.touch("s", session);
    for (let day = 0; day < 29; day++) clock.advance(DAY_SECONDS);
    await assertDevices(store, { ann: ["s"] });
  });

  test("plain data that replaces a session decides about the user", async harness => {
    const store = await openWithUsers(harness);
    await signIn(store, "s", "ann");
    await store.set("s", plain({ user: "bob", device: "s" }));
    await assertDevices(store, { ann: [], bob: ["s"] });
  });

  test("users with unusual names have lists of their own", async harness => {
    const store = await openWithUsers(harness);
    const users = [
      "a",
      "a!",
      "a!b",
      "a:b",
      "a/b",
      "a\nb",
      "A",
      "ä",
      "😀",
      "%",
      "null",
      " ",
      "x".repeat(300),
      "x".repeat(1024),
    ];
    for (const [index, user] of users.entries()) await signIn(store, `s${index}`, user);
    for (const [index, user] of users.entries()) await assertDevices(store, { [user]: [`s${index}`] });
  });

  test("stores with other prefixes have lists of their own", async harness => {
    const store = await openWithUsers(harness);
    const others = ["", "a", "a:", "!", "!ann"].map(end => `${harness.prefix}${end}x`);
    await signIn(store, "s", "ann");
    for (const prefix of others) await assertDevices(await openWithUsers(harness, { prefix }), { ann: [] });
    const other = await openWithUsers(harness, { prefix: others[1] as string });
    await signIn(other, "t", "ann");
    await other.destroyByUser("ann");
    await assertDevices(store, { ann: ["s"] });
  });

  test("lists of users are no sessions", async harness => {
    const store = await openWithUsers(harness);
    const corrupt: unknown[] = [];
    store.on("corrupt", event => corrupt.push(event));
    await signInAll(store, "ann", "s");
    assert.deepEqual(await store.ids(), ["s"]);
    assert.equal(await store.length(), 1);
    assert.equal((await store.all()).length, 1);
    assert.deepEqual(corrupt, []);
  });

  test("without the option, a store keeps the user of a session, and reindex files what it has created", async harness => {
    if (harness.backend.capabilities?.shared === false) return;
    const store = await openWithUsers(harness);
    const without = await harness.open();
    await signIn(store, "s", "ann");
    await without.set("s", Object.assign(await load(without, "s"), { cart: 1 }));
    await assertDevices(store, { ann: ["s"] });
    for (let index = 0; index < 5; index++) {
      await without.set(`t${index}`, plain({ user: index < 4 ? "ann" : undefined, device: `t${index}` }));
    }
    harness.clock.advance(60);
    await assertDevices(store, { ann: ["s"] });
    let last: { seen: number; filed: number } | undefined;
    for await (const progress of store.reindex()) last = progress;
    assert.deepEqual(last, { seen: 6, filed: 4 });
    await assertDevices(store, { ann: ["s", "t0", "t1", "t2", "t3"] });
    for await (const progress of store.reindex()) last = progress;
    assert.deepEqual(last, { seen: 6, filed: 0 });
    const [found] = await sessionsOf(store, "ann");
    assert.ok(found && found.activeAt.getTime() < harness.clock.now(), "expected reindex to be no use");
  });
}
