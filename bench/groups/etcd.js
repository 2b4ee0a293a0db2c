import { createRequire } from "node:module";
import { startEtcd, startRedis } from "../../scripts/engines.mjs";
import { fromClient, fromStore } from "../lib/operations.js";

const require = createRequire(import.meta.url);
const { Etcd3 } = require("../../node_modules/etcd3");
const { createClient } = require("../../node_modules/@redis/client");
const { RedisStore } = require("connect-redis");
const { EtcdStore } = require("../../dist/etcd.js");

export const counts = { 1: 500, 16: 2000, 64: 4000 };

const [etcd, redis] = await Promise.all([startEtcd(), startRedis()]);
export const stop = () => Promise.all([etcd.stop(), redis.stop()]);

const newClient = () => new Etcd3({ hosts: etcd.endpoint });

export const contenders = {
  ours: async () => {
    const client = newClient();
    const store = new EtcdStore({ client, touchAfter: 0 });
    return fromStore(store, () => client.close());
  },
  "a lease for each session": async () => {
    const client = newClient();
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
  "connect-redis": async () => {
    const client = createClient({ url: redis.endpoint });
    await client.connect();
    return { ...fromStore(new RedisStore({ client }), () => client.destroy()), touchIsRead: false };
  },
  "raw etcd3": async () => {
    const client = newClient();
    return fromClient({
      set: (sid, value) => client.put(`raw:${sid}`).value(JSON.stringify(value)).exec(),
      get: async sid => JSON.parse(await client.get(`raw:${sid}`).string()),
      destroy: sid => client.delete().key(`raw:${sid}`).exec(),
      close: () => client.close(),
    });
  },
};
