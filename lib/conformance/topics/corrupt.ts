import assert from "node:assert/strict";
import type { AbstractStore } from "../../index.js";
import type { DefineTest, Harness } from "../harness.js";
import { eventsOf } from "../observe.js";
import { find, load, plain, requestSession, stored } from "../sessions.js";

/** A store with a session under `sid` that its serializer cannot read until `parse` is set to JSON's. */
async function unreadable({ open }: Harness, sid = "sid") {
  const serializer = { stringify: JSON.stringify, parse: JSON.parse };
  const store = await open({ serializer });
  await store.set(sid, plain({ user: "ann" }));
  serializer.parse = () => {
    throw new SyntaxError("cannot read this");
  };
  return { store, serializer };
}

export function corruptRecordTests(test: DefineTest): void {
  test("a record that does not decode is absent, reported, and stays in place", async harness => {
    const { store, serializer } = await unreadable(harness);
    const corrupt = eventsOf(store, "corrupt");
    assert.equal(await store.get("sid"), null);
    assert.deepEqual(await store.all(), []);
    const events = await corrupt();
    assert.deepEqual(
      events.map(({ cause }) => String(cause)),
      Array(2).fill("SyntaxError: cannot read this"),
    );
    serializer.parse = JSON.parse;
    assert.deepEqual(await stored(store, "sid"), { user: "ann" });
  });

  for (const text of ["null", "42", '"text"', "[]", "true"]) {
    test(`a record that decodes to ${text} is absent and reported`, async harness => {
      const { store, serializer } = await unreadable(harness);
      const corrupt = eventsOf(store, "corrupt");
      serializer.parse = () => JSON.parse(text);
      assert.equal(await store.get("sid"), null);
      assert.equal((await corrupt()).length, 1);
    });
  }

  test("a rejection of an asynchronous serializer counts as not decoding", async harness => {
    const { store, serializer } = await unreadable(harness);
    const corrupt = eventsOf(store, "corrupt");
    serializer.parse = () => Promise.reject(new Error("cannot read this"));
    assert.equal(await store.get("sid"), null);
    assert.equal((await corrupt()).length, 1);
  });

  test("a listing goes on past a record that does not decode", async ({ open }) => {
    const parse = (text: string) => (text.includes("odd") ? assert.fail() : JSON.parse(text));
    const store = await open({ serializer: { stringify: JSON.stringify, parse } });
    for (const sid of ["a", "b", "c"]) await store.set(sid, plain(sid === "b" ? { odd: true } : {}));
    assert.deepEqual((await store.all()).map(({ id }) => id).sort(), ["a", "c"]);
  });

  test("event corrupt comes on a later tick and does not show the sid, in whatever way it was met", async harness => {
    const { store } = await unreadable(harness, "secret-sid");
    let returned = false;
    store.on("corrupt", () => assert.ok(returned, "was emitted before get had returned"));
    const corrupt = eventsOf(store, "corrupt");
    const getting = store.get("secret-sid");
    returned = true;
    await getting;
    await store.all();
    const [one, two] = await corrupt();
    assert.equal(one?.sidHash, two?.sidHash);
    assert.ok(one && !JSON.stringify(one).includes("secret"));
  });

  test("a record that does not decode can be replaced and destroyed", async harness => {
    const { store, serializer } = await unreadable(harness);
    await store.set("sid", plain({ user: "ben" }));
    serializer.parse = JSON.parse;
    assert.deepEqual(await stored(store, "sid"), { user: "ben" });
    await store.destroy("sid");
    assert.equal(await store.get("sid"), null);
  });
}

const foreignTexts = [
  "",
  "garbage",
  "\0\n\u2028",
  "a b c d\n{}",
  "v.1 9999999999999 0 1700000000000\n{}",
  "{}",
  '{"cookie":{}}',
];

/** For backends with `putRaw`. */
export function foreignRecordTests(test: DefineTest): void {
  for (const sid of ["sid", "x".repeat(2000)]) {
    const kind = sid.length > 100 ? "a long sid" : "a sid";
    test(`what is no record of this store under ${kind} is absent, reported, and stays in place`, async harness => {
      for (const text of foreignTexts) {
        const store: AbstractStore = await harness.open();
        const corrupt = eventsOf(store, "corrupt");
        await harness.putRaw(store, sid, text);
        await store.set("other", plain());
        assert.equal(await store.get(sid), null);
        assert.equal(await store.get(sid), null);
        assert.equal((await corrupt()).length, 2);
        await store.touch(sid, plain());
        assert.deepEqual(await store.ids(), ["other"]);
        assert.equal(await store.length(), 1);
        assert.deepEqual(
          (await store.all()).map(({ id }) => id),
          ["other"],
        );
        await store.clear();
      }
    });
  }

  test("what is no record of this store is reported with an absoluteTimeout, too", async harness => {
    const store = await harness.open({ absoluteTimeout: 100 });
    const corrupt = eventsOf(store, "corrupt");
    await harness.putRaw(store, "sid", "garbage");
    assert.equal(await store.get("sid"), null);
    assert.deepEqual(await store.all(), []);
    assert.equal((await corrupt()).length, 2);
  });

  test("the save of a session whose record is none of this store any more fails and leaves it", async harness => {
    const store = await harness.open();
    await store.set("sid", plain());
    const sessions = [
      await load(store, "sid"),
      plain({ user: "ann" }),
      requestSession(store, "sid", plain()),
    ];
    await harness.putRaw(store, "sid", "garbage");
    const corrupt = eventsOf(store, "corrupt");
    for (const session of sessions) {
      await assert.rejects(store.set("sid", session), { code: "ERR_SESSION_SERIALIZE" });
      assert.equal(await store.get("sid"), null);
    }
    assert.equal((await corrupt()).length, sessions.length);
  });

  test("what is no record of this store can be destroyed and cleared", async harness => {
    const store = await harness.open();
    const corrupt = eventsOf(store, "corrupt");
    for (const removal of [() => store.destroy("sid"), () => store.clear()]) {
      await harness.putRaw(store, "sid", "garbage");
      await removal();
      assert.equal(await store.get("sid"), null);
    }
    assert.deepEqual(await corrupt(), []);
    await store.set("sid", plain());
    await find(store, "sid");
  });
}
