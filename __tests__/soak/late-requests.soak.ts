import { createClient, type RedisClientType } from "@redis/client";
import { RedisStore } from "../../examples/custom-store/redis-store.js";
import { firstSeed, runSchedules } from "../helpers/faults/late-schedules.js";
import { proxiedBackends } from "../helpers/faults/proxied-backends.js";
import { figure } from "../helpers/measures/figures.js";
import { FAULTY } from "../helpers/model/clients.js";
import { type ModelBackend, modelBackends, runClients } from "../helpers/model/runs.js";
import { type Backend, backends } from "../helpers/stores/backends.js";

const SCHEDULES = 500;
/** A broken store is found within about fifteen schedules. */
const SCHEDULES_OF_BROKEN_STORES = 200;
const HISTORIES = 1000;

const redis: Backend = {
  name: "Redis",
  persistent: true,
  async open() {
    const client = createClient({ url: process.env.REDIS_URL ?? "" }) as RedisClientType;
    await client.connect();
    return {
      createStore: options => new RedisStore({ ...options, client }),
      close: async () => client.destroy(),
    };
  },
};

describe.each(proxiedBackends)("random schedules of late requests to $name", backend => {
  it(`undo nothing that was acknowledged, ${SCHEDULES} times`, async () => {
    const seed = firstSeed();
    const counts = await runSchedules(backend, { count: SCHEDULES, seed });
    figure(`${backend.name}: ${SCHEDULES} schedules from seed ${seed}, requests: ${JSON.stringify(counts)}`);
  });

  it.each(["deletes", "overwrites"] as const)("find a store that %s", async flaw => {
    const schedules = { count: SCHEDULES_OF_BROKEN_STORES, seed: firstSeed(), flaw };
    await expect(runSchedules(backend, schedules)).rejects.toThrow(/^Seed \d+: /);
  });
});

// model.soak.ts tests the other backends.
describe("what several processes write stays though requests are lost, repeated and late", () => {
  const others = [...backends.filter(({ name }) => name.includes("DynamoDB Local")), redis];

  it.each(others)(`$name, ${HISTORIES} histories`, backend =>
    runClients({ ...(modelBackends[0] as ModelBackend), backend }, FAULTY, HISTORIES),
  );
});
