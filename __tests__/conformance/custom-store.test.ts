import { createClient, type RedisClientType } from "@redis/client";
import { RedisStore } from "../../examples/custom-store/redis-store.js";
import { storeConformance } from "../../lib/conformance.js";

let client: RedisClientType;

beforeAll(async () => {
  client = createClient({ url: process.env.REDIS_URL ?? "" });
  await client.connect();
});
afterAll(() => client.destroy());

describe("the Redis store of examples/custom-store", () => {
  storeConformance({
    describe,
    it,
    createStore: options => new RedisStore({ ...options, client }),
    capabilities: { users: true },
    // A string, so that commands for hashes fail with WRONGTYPE.
    putRaw: async (_store, key, text) => {
      await client.set(key, text);
    },
  });
});
