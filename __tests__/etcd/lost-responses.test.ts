import { Etcd3 } from "etcd3";
import { eventsOf } from "../../lib/conformance/observe.js";
import { load, plain, requestSession, sids, stored } from "../../lib/conformance/sessions.js";
import { EtcdStore } from "../../lib/etcd/store.js";
import { EtcdCluster } from "../helpers/engines/etcd-cluster.js";
import { loseAnswer, type Message, performTwice } from "../helpers/stores/counting.js";
import { hangNext, lost, responseTooLarge, useEtcd } from "./harness.js";

const etcd = useEtcd();
const { open, raw, traffic } = etcd;

describe("a lost answer", () => {
  it("that the client asks for again is no conflict: a save recognises its own first attempt", async () => {
    const store = open({ conflict: "error" });
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain());
    const session = await load(store, "sid");
    for (const views of [1, 2]) {
      session.views = views;
      traffic.next("txn", performTwice);
      expect(await traffic.during(() => store.set("sid", session))).toEqual(["txn"]);
      expect(await stored(store, "sid")).toEqual({ views });
    }
    expect(await conflicts()).toEqual([]);
  });

  it("that the client asks for again does not undo what another did in between", async () => {
    const store = open();
    await store.set("sid", plain());
    const session = await load(store, "sid");
    session.user = "ann";
    traffic.next("txn", async perform => {
      await perform();
      const other = new EtcdStore({ client: raw, prefix: etcd.prefix });
      const theirs = await load(other, "sid");
      theirs.views = 1;
      await other.set("sid", theirs);
      return perform();
    });
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann", views: 1 });
    await store.destroy("sid");
    await store.set("sid", session);
    expect(await store.get("sid")).toBeNull();
  });

  it("that the client asks for again does not bring back what was destroyed in between", async () => {
    const store = open();
    await store.set("sid", plain());
    const session = await load(store, "sid");
    session.user = "ann";
    traffic.next("txn", async perform => {
      await perform();
      await raw.delete().key(`${etcd.prefix}sid`);
      return perform();
    });
    await store.set("sid", session);
    expect(await store.get("sid")).toBeNull();
  });

  it("that was too large for gRPC does not bring back what was destroyed in between", async () => {
    const [store, other] = [open(), open({ client: raw })];
    await store.set("shared", plain());
    const [ours, theirs] = [await load(store, "shared"), await load(other, "shared")];
    await other.set("shared", Object.assign(theirs, { theirs: 1 }));
    const conflicts = eventsOf(store, "conflict");
    // The first transaction is rejected for the sake of `shared`. The second one does both writes.
    traffic.next("txn", perform => perform());
    traffic.next("txn", async perform => {
      await perform();
      await other.destroy("new");
      throw responseTooLarge;
    });
    await Promise.all([
      store.set("new", requestSession(store, "new", plain({ user: "ann" }))),
      store.set("shared", Object.assign(ours, { ours: 1 })),
    ]);
    expect(await store.get("new")).toBeNull();
    expect(await stored(store, "shared")).toEqual({ ours: 1, theirs: 1 });
    expect((await conflicts()).map(({ reason }) => reason).sort()).toEqual(["gone", "merged"]);
  });

  it("that the client asks for again leaves touch and destroy as they are", async () => {
    const store = open({ ttl: 100 });
    await store.set("sid", plain({ user: "ann" }));
    const session = await load(store, "sid");
    etcd.clock.advance(50);
    traffic.next("txn", performTwice);
    await store.touch("sid", session);
    etcd.clock.advance(99);
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
    session.views = 1;
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann", views: 1 });
    traffic.next("txn", performTwice);
    await store.destroy("sid");
    expect(await store.get("sid")).toBeNull();
  });

  it("is reported, and the next save of the same Session recognises what was written", async () => {
    const store = open({ conflict: "error" });
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain());
    const session = await load(store, "sid");
    session.user = "ann";
    traffic.next("txn", loseAnswer(lost));
    await expect(store.set("sid", session)).rejects.toMatchObject({
      code: "ERR_STORE_UNAVAILABLE",
      cause: lost,
    });
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
    session.views = 1;
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann", views: 1 });
    expect(await conflicts()).toEqual([]);
  });

  it("of a save does not make the next one undo what another changed meanwhile", async () => {
    const store = open();
    await store.set("sid", plain({ theme: "light" }));
    const session = await load(store, "sid");
    session.user = "ann";
    traffic.next("txn", loseAnswer(lost));
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    const theirs = await load(store, "sid");
    theirs.theme = "dark";
    await store.set("sid", theirs);
    session.views = 1;
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann", theme: "dark", views: 1 });
  });

  it("that the client asks for again, in a batch, is no conflict for any of its saves", async () => {
    const store = open({ conflict: "error" });
    const some = sids(3);
    const sessions = some.map(sid => requestSession(store, sid, plain({ sid })));
    traffic.next("txn", performTwice);
    await Promise.all(some.map((sid, index) => store.set(sid, sessions[index] as never)));
    for (const sid of some) expect(await stored(store, sid)).toEqual({ sid });
  });

  it("of a request that did not get through loses nothing either", async () => {
    const store = open();
    await store.set("sid", plain());
    const session = await load(store, "sid");
    session.user = "ann";
    traffic.next("txn", () => Promise.reject(lost));
    await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    expect(await stored(store, "sid")).toEqual({});
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
  });
});

describe("the first save of a session, which arrives late,", () => {
  const refused = { code: "ERR_STORE_UNAVAILABLE", cause: lost };

  it.each<[string, () => EtcdStore]>([
    ["this process", () => open()],
    ["another process", () => open({ client: raw })],
  ])("does not bring back what %s destroyed in the meantime", async (_who, openOther) => {
    const store = open();
    const arrive = hangNext(traffic);
    const session = requestSession(store, "sid", plain({ user: "ann" }));
    await expect(store.set("sid", session)).rejects.toMatchObject(refused);
    await openOther().destroy("sid");
    await arrive();
    expect(await store.get("sid")).toBeNull();
    await store.set("sid", session);
    expect(await store.get("sid")).toBeNull();
  });

  it.each([
    ["after a second attempt", (perform: () => Promise<Message>) => perform()],
    ["after an error", () => Promise.reject(lost)],
  ])("does not bring back what was destroyed %s", async (_what, secondAttempt) => {
    const store = open();
    let arrive: () => Promise<Message> = () => Promise.reject();
    traffic.next("txn", async perform => {
      arrive = perform;
      await perform();
      return secondAttempt(perform);
    });
    const session = requestSession(store, "sid", plain({ user: "ann" }));
    await store.set("sid", session).catch(() => store.set("sid", session));
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
    await open({ client: raw }).destroy("sid");
    await arrive();
    expect(await store.get("sid")).toBeNull();
  });

  it("does not undo a later save", async () => {
    const store = open();
    let arrive: () => Promise<Message> = () => Promise.reject();
    traffic.next("txn", async perform => {
      arrive = perform;
      await perform();
      throw lost;
    });
    const first = requestSession(store, "sid", plain({ user: "ann" }));
    await expect(store.set("sid", first)).rejects.toMatchObject(refused);
    const session = await load(store, "sid");
    session.user = "bob";
    expect(await traffic.during(() => store.set("sid", session))).toEqual(["txn"]);
    await arrive();
    expect(await stored(store, "sid")).toEqual({ user: "bob" });
  });
});

describe("a member of a cluster that hangs and goes on", () => {
  let cluster: EtcdCluster;
  beforeAll(async () => {
    cluster = await EtcdCluster.start();
  });
  afterAll(() => cluster.stop());

  it("does not bring back what another process destroyed in the meantime", async () => {
    const leader = await cluster.leader();
    const frozen = (leader + 1) % 3;
    const { endpoints } = cluster;
    const stuck = new Etcd3({ hosts: endpoints[frozen] as string });
    const others = new Etcd3({ hosts: endpoints.filter((_, index) => index !== frozen) });
    const store = open({ client: stuck, timeoutMs: 1000 });
    await store.set("first", plain());
    await cluster.freeze(frozen, 0);
    const some = sids(50);
    const saves = await Promise.allSettled(some.map(sid => store.set(sid, plain({ user: "ann" }))));
    expect(saves.map(({ status }) => status)).toEqual(some.map(() => "rejected"));
    const other = open({ client: others });
    await Promise.all(some.map(sid => other.destroy(sid)));
    cluster.thaw(frozen);
    await cluster.healthy();
    // The requests of the hung member are applied before this request.
    await stuck.put(`${etcd.prefix}after`).value("");
    expect(await Promise.all(some.map(sid => other.get(sid)))).toEqual(some.map(() => null));
    stuck.close();
    others.close();
  });
});

describe("a removal that arrives late", () => {
  /** Destroys sessions with a first attempt that hangs. */
  async function destroyTwice(store: EtcdStore, ...others: string[]): Promise<() => Promise<Message>> {
    const arrive = hangNext(traffic);
    await Promise.allSettled(["sid", ...others].map(sid => store.destroy(sid)));
    // The second attempt. Usually the client sends it, but after a crash of that process nobody does.
    await arrive();
    return arrive;
  }

  it.each<[string, string[]]>([
    ["alone", []],
    ["beside others", ["other"]],
  ])("%s does not destroy the session that was created over its tombstone", async (_what, others) => {
    const store = open();
    for (const sid of ["sid", ...others]) await store.set(sid, plain({ user: "ann" }));
    const arrive = await destroyTwice(store, ...others);
    const session = requestSession(store, "sid", plain({ user: "bob" }));
    await store.set("sid", session);
    await arrive();
    expect(await stored(store, "sid")).toEqual({ user: "bob" });
    // The copy must also fail after several saves and touches, because the version keeps only a few write ids.
    for (let views = 1; views <= 10; views++) {
      const loaded = await load(views % 2 === 0 ? store : open(), "sid");
      loaded.views = views;
      await store.set("sid", loaded);
      etcd.clock.advance(1);
      await store.touch("sid", loaded);
    }
    await arrive();
    expect(await stored(store, "sid")).toEqual({ user: "bob", views: 10 });
    for (const sid of others) expect(await store.get(sid)).toBeNull();
  });

  it("leaves its own tombstone as it is", async () => {
    const store = open();
    await store.set("sid", plain());
    const arrive = await destroyTwice(store);
    const before = await raw.kv.range({ key: Buffer.from(`${etcd.prefix}sid`) });
    await arrive();
    expect((await raw.kv.range({ key: Buffer.from(`${etcd.prefix}sid`) })).kvs).toEqual(before.kvs);
  });

  it("does not keep later removals from destroying that session", async () => {
    const store = open();
    const arrive = await destroyTwice(store);
    await store.set("sid", plain({ user: "bob" }));
    await store.destroy("sid");
    expect(await store.get("sid")).toBeNull();
    await arrive();
    expect(await store.get("sid")).toBeNull();
  });
});

describe("a touch by another process", () => {
  it("between load and save is not a conflict, though it changes etcd's revision", async () => {
    const store = open({ ttl: 100, conflict: "error" });
    const conflicts = eventsOf(store, "conflict");
    await store.set("sid", plain());
    const session = await load(store, "sid");
    etcd.clock.advance(50);
    const other = open({ ttl: 100 });
    await other.touch("sid", await load(other, "sid"));
    session.user = "ann";
    await store.set("sid", session);
    etcd.clock.advance(99);
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
    expect(await conflicts()).toEqual([]);
  });

  it("between load and touch is not undone by an earlier one", async () => {
    const store = open({ ttl: 100 });
    await store.set("sid", plain());
    const session = await load(store, "sid");
    const other = open({ ttl: 100 });
    const theirs = await load(other, "sid");
    etcd.clock.advance(50);
    await other.touch("sid", theirs);
    etcd.clock.advance(-25);
    expect(await traffic.during(() => store.touch("sid", session))).toEqual(["leaseGrant", "txn"]);
    etcd.clock.advance(25 + 99);
    expect(await stored(store, "sid")).toEqual({});
  });

  it("and a save by another both survive a touch that knew neither", async () => {
    const store = open({ ttl: 100 });
    await store.set("sid", plain());
    const session = await load(store, "sid");
    const other = open({ ttl: 100 });
    const theirs = await load(other, "sid");
    theirs.user = "ann";
    await other.set("sid", theirs);
    etcd.clock.advance(50);
    // The write is rejected, but may be repeated on top of the stored record.
    expect(await traffic.during(() => store.touch("sid", session))).toEqual(["leaseGrant", "txn", "txn"]);
    etcd.clock.advance(99);
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
    // The touch must not replace the version that this request had loaded.
    session.views = 1;
    await store.set("sid", session);
    expect(await stored(store, "sid")).toEqual({ user: "ann", views: 1 });
  });
});
