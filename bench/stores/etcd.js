import { createRequire } from "node:module";
import { startEtcd, startRedis } from "../../scripts/engines.mjs";
import { versionsOf } from "../lib/baseline.js";
import { fromClient, fromStore } from "../lib/operations.js";

const require = createRequire(import.meta.url);

export const limits = ["a lease for each session", "raw etcd3", "etcd3, conditional"];
export const versions = ["etcd3", "connect-redis", "@redis/client"];

export async function start() {
  const [etcd, redis] = await Promise.all([startEtcd(), startRedis()]);
  return {
    at: { etcd: etcd.endpoint, redis: redis.endpoint },
    stop: () => Promise.all([etcd.stop(), redis.stop()]),
  };
}

export function newClient(at) {
  const { Etcd3 } = require("../../node_modules/etcd3");
  return new Etcd3({ hosts: at.etcd });
}

export const contenders = {
  ...versionsOf(dist => async (at, options) => {
    const { EtcdStore } = require(dist("etcd.js"));
    const client = newClient(at);
    const store = new EtcdStore({ client, ...options });
    return { ...fromStore(store, () => client.close()), client };
  }),
  "a lease for each session": async at => {
    const client = newClient(at);
    const leases = new Map();
    const set = async (sid, value) => {
      const { ID } = await client.leaseClient.leaseGrant({ TTL: 1800 });
      leases.set(sid, ID);
      await client.put(`lease:${sid}`).value(JSON.stringify(value)).lease(ID).exec();
    };
    return fromClient({
      set,
      get: async sid => JSON.parse(await client.get(`lease:${sid}`).string()),
      destroy: async sid => void (await client.leaseClient.leaseRevoke({ ID: leases.get(sid) })),
      close: () => client.close(),
    });
  },
  "connect-redis": async at => {
    const { createClient } = require("../../node_modules/@redis/client");
    const { RedisStore } = require("connect-redis");
    const client = createClient({ url: at.redis });
    await client.connect();
    return {
      ...fromStore(new RedisStore({ client }), () => client.destroy()),
      client,
      touchIsRead: false,
    };
  },
  "raw etcd3": async at => {
    const client = newClient(at);
    return fromClient({
      set: (sid, value) => client.put(`raw:${sid}`).value(JSON.stringify(value)).exec(),
      get: async sid => JSON.parse(await client.get(`raw:${sid}`).string()),
      destroy: sid => client.delete().key(`raw:${sid}`).exec(),
      close: () => client.close(),
    });
  },
  // What a write costs at least that depends on what is stored, on a lease that all sessions share.
  "etcd3, conditional": async at => {
    const client = newClient(at);
    const { ID: lease } = await client.leaseClient.leaseGrant({ TTL: 3600 });
    const revisions = new Map();
    const write = async (sid, value) => {
      const key = Buffer.from(`conditional:${sid}`);
      const { succeeded, header } = await client.kv.txn({
        compare: [{ key, target: "Mod", result: "Equal", mod_revision: revisions.get(sid) ?? "0" }],
        success: [{ request_put: { key, value: Buffer.from(value), lease } }],
        failure: [{ request_range: { key } }],
      });
      if (!succeeded) throw new Error("rejected");
      revisions.set(sid, header.revision);
    };
    return fromClient({
      set: (sid, value) => write(sid, JSON.stringify(value)),
      get: async sid => JSON.parse(await client.get(`conditional:${sid}`).string()),
      destroy: async sid => {
        await write(sid, "null");
        revisions.delete(sid);
      },
      close: () => client.close(),
    });
  },
};
