import { eventsOf } from "../../lib/conformance/observe.js";
import { plain, stored } from "../../lib/conformance/sessions.js";
import { storeConformance } from "../../lib/conformance.js";
import type { AbstractStore } from "../../lib/core/abstract-store.js";
import type { EtcdStoreOptions } from "../../lib/etcd/options.js";
import { EtcdStore } from "../../lib/etcd/store.js";
import { down, useEtcd } from "./harness.js";

const MAX_REQUEST_BYTES = 1.5 * 1024 * 1024;

const etcd = useEtcd();
const { client, open, raw } = etcd;

describe("EtcdStore", () => {
  const links = new WeakMap<AbstractStore, EtcdStoreOptions["client"]>();
  storeConformance({
    describe,
    it,
    createStore: options => {
      // A separate client with its own methods, so that a test can break it without affecting the others.
      const link = { kv: Object.create(client.kv), leaseClient: Object.create(client.leaseClient) };
      const store = new EtcdStore({ ...options, client: link });
      links.set(store, link);
      return store;
    },
    capabilities: { users: true, maxSessionBytes: MAX_REQUEST_BYTES },
    putRaw: async (_store, key, text) => {
      await raw.put(key).value(text);
    },
    breakBackend: store => {
      const fail = () => Promise.reject(down);
      const link = links.get(store);
      Object.assign(link?.kv as object, { txn: fail, range: fail, put: fail, deleteRange: fail });
      Object.assign(link?.leaseClient as object, { leaseGrant: fail });
    },
  });
});

describe("client", () => {
  it.each([undefined, null, "localhost:2379", {}, { kv: {} }, { kv: client.kv }])(
    "is refused with a TypeError if it is none of etcd3",
    wrong => {
      const create = () => new EtcdStore({ client: wrong as never });
      expect(create).toThrow(TypeError);
      expect(create).toThrow("Expected `client` to be a client of the package `etcd3`");
    },
  );

  it("is not closed with the store, and serves other stores", async () => {
    const [closed, other] = [open(), open()];
    await closed.set("sid", plain({ user: "ann" }));
    await closed.close();
    expect(await stored(other, "sid")).toEqual({ user: "ann" });
  });
});

describe("prefix", () => {
  it("is what raw keys begin with; the sid follows as it is", async () => {
    await open({ prefix: `${etcd.prefix}a:` }).set("Sid_1-x", plain());
    await open({ prefix: `${etcd.prefix}a:b:` }).set("Sid_1-x", plain());
    expect(await raw.getAll().prefix(etcd.prefix).keys()).toEqual([
      `${etcd.prefix}a:Sid_1-x`,
      `${etcd.prefix}a:b:Sid_1-x`,
    ]);
    await open({ prefix: `${etcd.prefix}a:` }).clear();
    expect(await open({ prefix: `${etcd.prefix}a:b:` }).ids()).toEqual(["Sid_1-x"]);
  });

  it("is sess: if none is given", () => {
    expect(new EtcdStore({ client }).prefix).toBe("sess:");
  });
});

describe("what is no record", () => {
  it("stays as it is, whatever is read and touched", async () => {
    const store = open();
    await raw.put(`${etcd.prefix}sid`).value("{ half a reco");
    const corrupt = eventsOf(store, "corrupt");
    expect(await store.get("sid")).toBeNull();
    expect(await store.all()).toEqual([]);
    await store.touch("sid", plain());
    expect(await raw.get(`${etcd.prefix}sid`).string()).toBe("{ half a reco");
    expect(await corrupt()).toHaveLength(2);
  });
});
