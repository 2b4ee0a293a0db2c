import { DeleteItemCommand } from "@aws-sdk/client-dynamodb";
import { Clock } from "../../lib/conformance/clock.js";
import { newOperation, primitivesOf } from "../../lib/conformance/primitives.js";
import { load, plain, requestSession, sids } from "../../lib/conformance/sessions.js";
import { assertDevices, devicesOf, signIn, signInAll, userOf } from "../../lib/conformance/user-sessions.js";
import { FileStore } from "../../lib/file/store.js";
import type { AbstractStore, StoreOptions } from "../../lib/index.js";
import { MemoryStore } from "../../lib/memory.js";
import { dynamodbClient, etcdClient } from "../helpers/engines/engines.js";
import { useBackend } from "../helpers/stores/backends.js";
import { entriesOf, userBackends } from "../helpers/stores/users.js";

/*
 * Reported failures of other indexes of sessions by user. spring-session is github.com/spring-projects/spring-session,
 * better-auth is github.com/better-auth/better-auth.
 */

/** The most outdated entries that may stay, because a store deletes them only from time to time. */
const MAX_GARBAGE = 30;

/** Replaces a session by a new one, like a request that signs in or out. */
async function regenerate(store: AbstractStore, from: string, to: string, user?: string): Promise<void> {
  await store.destroy(from);
  await store.set(to, requestSession(store, to, plain({ user, device: to })));
}

/** In memory and in the file, the sweep that deletes sessions also deletes their entries. */
async function sweep(store: AbstractStore): Promise<void> {
  if (store instanceof MemoryStore || store instanceof FileStore) await store.cleanup();
}

/** Deletes the list of a user, bypassing the store. */
async function loseList(store: AbstractStore, user: string): Promise<void> {
  const { sessions } = await primitivesOf(store)._listUser(user, newOperation());
  await primitivesOf(store)._removeEntries(user, sessions, newOperation());
  const userKey = `${store.prefix}!${user}`;
  if ("tableName" in store) {
    const client = dynamodbClient();
    const Key = { id: { S: userKey } };
    await client.send(new DeleteItemCommand({ TableName: store.tableName as string, Key }));
    client.destroy();
  } else if (store.constructor.name === "EtcdStore") {
    const client = etcdClient();
    await client.delete().prefix(userKey);
    client.close();
  }
}

describe.each(userBackends)("with sessions in $name", backend => {
  const createStore = useBackend(backend);
  let clock: Clock;
  const open = (options: StoreOptions = {}) =>
    createStore({ user: userOf, now: clock.now, touchAfter: 0, ...options });

  beforeEach(() => {
    clock = new Clock();
  });

  it("the id of before the sign-in does not stay in the list (spring-session #1791)", async () => {
    const store = open();
    await signIn(store, "before", "ann");
    await regenerate(store, "before", "after", "ann");
    await assertDevices(store, { ann: ["after"] });
    expect(await entriesOf(store, "ann")).toEqual(["after"]);
  });

  it("a save of all attributes does not bring a destroyed session back into the list (spring-session #1843)", async () => {
    const store = open();
    await signIn(store, "s", "ann");
    const slow = await load(store, "s");
    await store.destroy("s");
    await assertDevices(store, { ann: [] });
    expect(await entriesOf(store, "ann")).toEqual([]);
    await store.set("s", Object.assign(slow, { user: "ann", cart: 1, device: "t" }));
    await store.touch("s", slow);
    expect(await entriesOf(store, "ann")).toEqual([]);
    expect(await store.get("s")).toBeNull();
  });

  it("sessions without a user are in no list (spring-session #1987)", async () => {
    const store = open();
    const users = [undefined, null];
    for (const [index, user] of users.entries()) {
      const sid = `s${index}`;
      await store.set(sid, requestSession(store, sid, plain({ user, device: sid })));
      await store.set(sid, Object.assign(await load(store, sid), { cart: 1 }));
      await store.touch(sid, await load(store, sid));
    }
    for (const name of ["null", "undefined", "anonymous"]) {
      await assertDevices(store, { [name]: [] });
      expect(await entriesOf(store, name)).toEqual([]);
    }
    const session = await load(store, "s0");
    await store.set("s0", Object.assign(session, { user: "null" }));
    await assertDevices(store, { null: ["s0"] });
  });

  it("entries of sessions that have expired are removed (spring-session #2230, #3287)", async () => {
    const store = open({ ttl: 100 });
    await signInAll(store, "ann", "s", "t");
    clock.advance(90);
    await store.touch("t", await load(store, "t"));
    clock.advance(140);
    // Two minutes after its end, the session has ended by every clock.
    await assertDevices(store, { ann: [] });
    await sweep(store);
    expect(await entriesOf(store, "ann")).toEqual(["t"]);
    clock.advance(90);
    await assertDevices(store, { ann: [] });
    await sweep(store);
    expect(await entriesOf(store, "ann")).toEqual([]);
  });

  it("what has expired is read by one lookup and no more (spring-session #2616, #2869)", async () => {
    const store = open({ ttl: 100 });
    await signInAll(store, "ann", ...sids(5));
    clock.advance(1000);
    const lookups = [() => devicesOf(store, "ann"), () => store.countByUser("ann")];
    for (const [index, lookup] of lookups.entries()) {
      await signInAll(store, "ann", `live${index}`);
      await lookup();
      await sweep(store);
      expect(await entriesOf(store, "ann")).toEqual([`live${index}`]);
      clock.advance(1000);
    }
  });

  it("entries do not pile up by changes of the session id (spring-session #3334, #3468)", async () => {
    const store = open();
    await signIn(store, "s0", "ann");
    for (let change = 0; change < 60; change++) {
      await regenerate(store, `s${change}`, `s${change + 1}`, "ann");
    }
    expect((await entriesOf(store, "ann")).length).toBeLessThanOrEqual(MAX_GARBAGE);
    await assertDevices(store, { ann: ["s60"] });
    expect(await entriesOf(store, "ann")).toEqual(["s60"]);
  });

  it("entries do not pile up by sign-ins and sign-outs (spring-session #3471)", async () => {
    const store = open();
    for (let round = 0; round < 60; round++) {
      const sid = `s${round}`;
      await signIn(store, sid, "ann");
      if (round % 2 === 0) await store.destroy(sid);
      else {
        const session = await load(store, sid);
        session.user = undefined;
        await store.set(sid, session);
      }
    }
    expect((await entriesOf(store, "ann")).length).toBeLessThanOrEqual(MAX_GARBAGE);
    await assertDevices(store, { ann: [] });
    expect(await entriesOf(store, "ann")).toEqual([]);
  });

  it("sign-ins at the same time lose no entries (better-auth #11073)", async () => {
    const stores = backend.persistent ? [open(), open(), open()] : [open()];
    const names = sids(30);
    await Promise.all(
      names.map((sid, index) => signIn(stores[index % stores.length] as AbstractStore, sid, "ann")),
    );
    for (const store of stores) {
      expect(await entriesOf(store, "ann")).toEqual([...names].sort());
      await assertDevices(store, { ann: [...names].sort() });
    }
  });

  it("reindex repairs a list that was lost or damaged, so that all sessions can be ended (better-auth #11073)", async () => {
    const store = open();
    await signInAll(store, "ann", "a1", "a2");
    await signInAll(store, "bob", "b1");
    await loseList(store, "ann");
    const expected = backend.name === "memory" || backend.name === "file" ? ["a1", "a2"] : [];
    expect(await devicesOf(store, "ann")).toEqual(expected);
    let last: unknown;
    for await (const progress of store.reindex()) last = progress;
    expect(last).toEqual({ seen: 3, filed: 2 - expected.length });
    await assertDevices(store, { ann: ["a1", "a2"], bob: ["b1"] });
    const [entry] = (await primitivesOf(store)._listUser("ann", newOperation())).sessions;
    await primitivesOf(store)._removeEntries("ann", entry ? [entry] : [], newOperation());
    for await (const progress of store.reindex()) last = progress;
    expect(last).toEqual({ seen: 3, filed: expected.length > 0 ? 0 : 1 });
    expect(await store.destroyByUser("ann")).toBe(2);
    expect(await store.ids()).toEqual(["b1"]);
  });

  it("a refresh in flight does not undo a revocation (better-auth #11073)", async () => {
    const store = open();
    await signInAll(store, "ann", "a1", "a2", "a3");
    const requests = await Promise.all(["a1", "a2", "a3"].map(sid => load(store, sid)));
    const refreshes = requests.map((session, index) => async () => {
      clock.advance(10);
      const sid = `a${index + 1}`;
      if (index % 2 === 0) await store.touch(sid, session);
      else await store.set(sid, Object.assign(session, { refreshed: true }));
    });
    const [destroyed] = await Promise.all([
      store.destroyByUser("ann"),
      ...refreshes.map(refresh => refresh()),
    ]);
    for (const refresh of refreshes) await refresh();
    expect(destroyed).toBe(3);
    expect(await store.ids()).toEqual([]);
    await assertDevices(store, { ann: [] });
    expect(await entriesOf(store, "ann")).toEqual([]);
  });

  it("a sign-in after all sessions were revoked is listed (better-auth #11073)", async () => {
    const store = open();
    const other = backend.persistent ? open() : store;
    await signInAll(store, "ann", "a1", "a2");
    await store.destroyByUser("ann");
    await signIn(other, "a3", "ann");
    // Under a revoked id, which an application with its own ids may use again.
    await signIn(other, "a1", "ann");
    await assertDevices(store, { ann: ["a1", "a3"] });
    expect(await entriesOf(store, "ann")).toEqual(["a1", "a3"]);
    expect(await store.destroyByUser("ann")).toBe(2);
    expect(await store.ids()).toEqual([]);
  });
});
