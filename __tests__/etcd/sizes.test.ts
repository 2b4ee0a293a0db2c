import { find, load, plain, sids, stored } from "../../lib/conformance/sessions.js";
import type { EtcdStore } from "../../lib/etcd/store.js";
import { etcdClient } from "../helpers/engines/engines.js";
import { performTwice } from "../helpers/stores/counting.js";
import { down, forEach, useEtcd } from "./harness.js";

const MAX_REQUEST_BYTES = 1.5 * 1024 * 1024;

const etcd = useEtcd();
const { client, open, raw, traffic } = etcd;

describe("sessions", () => {
  it("of just under 1.5 MiB are saved", async () => {
    const store = open();
    const text = "x".repeat(MAX_REQUEST_BYTES - 1024);
    await store.set("sid", plain({ text }));
    expect(await stored(store, "sid")).toEqual({ text });
  });

  it("of more are rejected before they are sent, and the record stays", async () => {
    const store = open();
    await store.set("sid", plain({ user: "ann" }));
    const { kvs: before } = await raw.kv.range({ key: Buffer.from(`${etcd.prefix}sid`) });
    const session = await load(store, "sid");
    session.text = "x".repeat(MAX_REQUEST_BYTES);
    const requests = await traffic.during(() =>
      expect(store.set("sid", session)).rejects.toMatchObject({
        code: "ERR_SESSION_TOO_LARGE",
        message: expect.stringMatching(
          /is 157\d{4} bytes, which exceeds etcd's limit for a request of 1572864 bytes/,
        ),
      }),
    );
    expect(requests).toEqual([]);
    expect((await raw.kv.range({ key: Buffer.from(`${etcd.prefix}sid`) })).kvs).toEqual(before);
  });

  describe.each([
    ["etcd", "3 INVALID_ARGUMENT: etcdserver: request is too large"],
    ["gRPC", "8 RESOURCE_EXHAUSTED: grpc: received message larger than max (905050 vs. 626688)"],
  ])("on a server whose limit is lower, says %s,", (_who, message) => {
    it("are refused with the same code", async () => {
      const store = open();
      traffic.next("txn", async (perform, input) => {
        // etcd3 retries errors that it treats as temporary.
        await performTwice(perform, input);
        throw new Error(message);
      });
      await expect(store.set("sid", plain())).rejects.toMatchObject({
        code: "ERR_SESSION_TOO_LARGE",
        message: expect.stringContaining("exceeds the limit of this etcd server"),
      });
    });

    it("are saved one by one if they are too large together, and from then on in requests of half the size", async () => {
      const store = open();
      const some = sids(40);
      const text = "x".repeat(10_000);
      const save = (name: string) => Promise.all(some.map(sid => store.set(name + sid, plain({ text }))));
      traffic.next("txn", () => Promise.reject(new Error(message)));
      await save("");
      for (const sid of some) expect(await stored(store, sid)).toEqual({ text });
      const puts = (await traffic.requestsDuring(() => save("other-"))).map(
        ({ input }) => input.success.length,
      );
      expect(Math.max(...puts)).toBeLessThanOrEqual(20);
      expect(puts.length).toBeLessThanOrEqual(3);
      expect(puts.reduce((sum, count) => sum + count)).toBe(40);
    });
  });

  it("of 300 KB that are saved at the same moment are sent in several requests", async () => {
    const store = open();
    const text = "x".repeat(300_000);
    const some = sids(20);
    const requests = await traffic.requestsDuring(async () => {
      await Promise.all(some.map(sid => store.set(sid, plain({ text }))));
      const sessions = await Promise.all(some.map(sid => stored(store, sid)));
      expect(sessions).toEqual(Array(20).fill({ text }));
    });
    expect(requests.filter(({ error }) => error)).toEqual([]);
  });

  // Responses over 4 MiB fail, and so do all requests of the client in the next 5 seconds.
  describe.each([
    ["by the store that saved them", () => client],
    ["by a process that has seen none of them", etcdClient],
  ])("of 200 to 500 KB, mixed with small ones, are found %s", (_who, clientOf) => {
    it.each<[string, (store: EtcdStore, some: string[]) => Promise<unknown[]>]>([
      ["in a listing", store => store.all()],
      ["by gets of the same moment", (store, some) => Promise.all(some.map(sid => store.get(sid)))],
    ])("%s", async (_how, list) => {
      const some = sids(60);
      const writer = open();
      for (const [index, sid] of some.entries()) {
        const length = index % 3 === 0 ? 200_000 + index * 5000 : 100;
        await writer.set(sid, plain({ text: "x".repeat(length) }));
      }
      const reader = clientOf();
      try {
        const store = reader === client ? writer : open({ client: reader });
        expect(await list(store, some)).toHaveLength(60);
      } finally {
        if (reader !== client) reader.close();
      }
    });
  });

  describe("of 100 KB each, which another process changed since they were loaded,", () => {
    const text = "x".repeat(100_000);
    // Too many for one response, and their changes for one request.
    const some = sids(60);
    let store: EtcdStore;
    let sessions: Awaited<ReturnType<typeof load>>[];
    beforeEach(async () => {
      store = open();
      await forEach(some, sid => store.set(sid, plain({ text })));
      sessions = await Promise.all(some.map(sid => load(store, sid)));
      const other = open({ client: raw });
      for (const [index, sid] of some.entries()) {
        await other.set(sid, Object.assign(await load(other, sid), { theirs: 1 }));
        Object.assign(sessions[index] as object, { mine: 1, text: undefined });
      }
    });
    const save = () =>
      Promise.allSettled(sessions.map((session, index) => store.set(some[index] as string, session)));

    it("are merged by saves of the same moment, without an answer that is too large", async () => {
      let saved: PromiseSettledResult<void>[] = [];
      const requests = await traffic.requestsDuring(async () => {
        saved = await save();
      });
      expect(requests.filter(({ error }) => error)).toEqual([]);
      expect(saved).toEqual(some.map(() => ({ status: "fulfilled", value: undefined })));
      for (const sid of some) expect(await stored(store, sid)).toEqual({ mine: 1, theirs: 1 });
    });

    it("are merged also beside others that fail", async () => {
      const refuse = () => Promise.reject(down);
      const bad = () => Promise.reject(new Error("3 INVALID_ARGUMENT: etcdserver: something is wrong"));
      // First all together, then a part, which fails. One of its sessions also fails alone.
      traffic.next("txn", perform => perform());
      traffic.next("txn", bad);
      traffic.next("txn", refuse);
      const [first, ...others] = await save();
      expect(first).toMatchObject({
        status: "rejected",
        reason: { code: "ERR_STORE_UNAVAILABLE", cause: down },
      });
      expect(others).toEqual(some.slice(1).map(() => ({ status: "fulfilled", value: undefined })));
      expect(await stored(store, some[0] as string)).toEqual({ text, theirs: 1 });
      for (const sid of some.slice(1)) expect(await stored(store, sid)).toEqual({ mine: 1, theirs: 1 });
    });
  });

  it("of 1 KB are listed, counted and cleared, 20,000 of them, while other requests go on", async () => {
    const store = open({ timeoutMs: 20_000 });
    const text = "x".repeat(1000);
    const all = sids(20_000);
    await forEach(all, sid => store.set(sid, plain({ text })));
    const other = open({ prefix: `${etcd.prefix}other:` });
    await other.set("sid", plain());
    /**
     * Runs `work` while another session is read repeatedly, each time within the time limit. Returns the result of
     * `work`.
     */
    const whileReading = async <T>(work: () => Promise<T>): Promise<T> => {
      let working = true;
      let reads = 0;
      const result = work().finally(() => {
        working = false;
      });
      while (working) {
        await find(other, "sid");
        reads += 1;
      }
      expect(reads).toBeGreaterThan(10);
      return result;
    };
    const requests = await traffic.requestsDuring(async () => {
      expect(await whileReading(() => store.length())).toBe(all.length);
      const listed = await whileReading(() => store.all());
      expect(new Set(listed.map(({ id }) => id))).toEqual(new Set(all));
      await whileReading(() => store.clear());
      expect(await store.length()).toBe(0);
    });
    expect(requests.filter(({ error }) => error)).toEqual([]);
  });
});
