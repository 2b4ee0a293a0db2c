import { noop } from "cockatiel";
import { Etcd3 } from "etcd3";
import { invoke, methodNames } from "../../lib/conformance/observe.js";
import { plain, sids } from "../../lib/conformance/sessions.js";
import { assertDevices, handleOf, signInAll, userOf } from "../../lib/conformance/user-sessions.js";
import type { EtcdStore } from "../../lib/etcd/store.js";
import { type OwnEtcd, startEtcd } from "../helpers/engines/engines.js";
import { type Traffic, trafficOfEtcd } from "../helpers/stores/counting.js";
import { forEach, useEtcd } from "./harness.js";

const etcd = useEtcd();
const { open } = etcd;

describe("an etcd of its own", () => {
  let server: OwnEtcd;
  let own: Etcd3;
  beforeAll(async () => {
    server = await startEtcd();
  });
  beforeEach(() => {
    own = new Etcd3({ hosts: server.endpoint });
  });
  afterEach(() => own.close());
  afterAll(() => server.stop());

  it("holds sessions without a prefix beside other keys", async () => {
    await own.put("config/theme").value("dark");
    const store = open({ client: own, prefix: "" });
    await store.set("sid", plain({ user: "ann" }));
    expect(await own.getAll().keys()).toEqual(["config/theme", "sid"]);
    expect(await store.ids()).toEqual(["sid"]);
    await store.clear();
    expect(await store.ids()).toEqual([]);
    expect(await own.get("config/theme").string()).toBe("dark");
  });

  describe("that is full", () => {
    const full = {
      code: "ERR_STORE_UNAVAILABLE",
      cause: { message: expect.stringContaining("database space exceeded") },
    };
    let patient: Etcd3;
    let requests: Traffic;
    let store: EtcdStore;
    const alarm = (action: "Activate" | "Deactivate") =>
      own.maintenance.alarm({ action, memberID: "0", alarm: "Nospace" });
    beforeEach(async () => {
      // No circuit breaker, because it would reject everything for 5 s.
      patient = new Etcd3({ hosts: server.endpoint, faultHandling: { host: () => noop } });
      requests = trafficOfEtcd(patient);
      store = open({ client: patient });
      await forEach(sids(10), sid => store.set(sid, plain()));
    });
    afterEach(async () => {
      patient.close();
      await alarm("Deactivate");
      await own.delete().prefix(etcd.prefix);
    });

    it("removes sessions, also beside saves, which it rejects", async () => {
      await alarm("Activate");
      const [save, ...removals] = await Promise.allSettled([
        store.set("new", plain()),
        store.destroy("sid-0"),
        store.destroy("sid-1"),
      ]);
      expect(save).toMatchObject({ status: "rejected", reason: full });
      expect(removals).toEqual(Array(2).fill({ status: "fulfilled", value: undefined }));
      expect(await store.length()).toBe(8);
      await store.clear();
      expect(await store.ids()).toEqual([]);
    });

    it("ends the sessions of users", async () => {
      const users = open({ client: patient, user: userOf });
      await signInAll(users, "ann", "a1", "a2", "a3");
      const handle = await handleOf(users, "ann", "a1");
      await alarm("Activate");
      await users.destroyByHandle("ann", handle);
      await assertDevices(users, { ann: ["a2", "a3"] });
      expect(await users.destroyByUser("ann")).toBe(2);
      await assertDevices(users, { ann: [] });
      expect(await users.get("a2")).toBeNull();
    });

    it.each<[string, () => Promise<unknown>]>([
      ["a removal", () => store.destroy("sid-0")],
      ["a save", () => expect(store.set("new", plain())).rejects.toMatchObject(full)],
    ])("is not asked for tombstones for ten seconds after it rejected %s", async (_what, write) => {
      await alarm("Activate");
      await write();
      expect(await requests.during(() => store.destroy("sid-1"))).toEqual(["deleteRange"]);
    });
  });

  describe("that does not answer", () => {
    let store: EtcdStore;
    beforeEach(async () => {
      store = open({ client: own, timeoutMs: 300 });
      await store.set("sid", plain());
      process.kill(server.pid, "SIGSTOP");
    });
    afterEach(() => {
      process.kill(server.pid, "SIGCONT");
    });

    it("lets every call end after timeoutMs", async () => {
      const timedOut = { code: "ERR_STORE_TIMEOUT", message: expect.stringContaining("300 ms") };
      const calls = methodNames.map(method => invoke(store, method));
      // Blocks the process before the calls are sent. Timers that start then come before the other timers.
      for (const until = performance.now() + 100; performance.now() < until; );
      await Promise.all(calls.map(call => expect(call).rejects.toMatchObject(timedOut)));
    });

    it("lets every call be cancelled, with the reason of the signal", async () => {
      const patient = open({ client: own, timeoutMs: 60_000 });
      const controller = new AbortController();
      const calls = methodNames.map(method => invoke(patient, method, { signal: controller.signal }));
      const reason = new Error("the browser went away");
      setImmediate(() => controller.abort(reason));
      for (const call of calls) await expect(call).rejects.toBe(reason);
    });
  });
});
