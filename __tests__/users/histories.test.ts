import { randomUUID } from "node:crypto";
import type { AbstractStore } from "../../lib/index.js";
import { figure } from "../helpers/measures/figures.js";
import { firstUserSeed, historyOptions, runUserHistory } from "../helpers/model/user-histories.js";
import { createSlowStore, type UserFlaw } from "../helpers/model/user-network.js";
import { LIMITS, ProxiedUsers, proxiedUserBackends, runOn } from "../helpers/model/user-runs.js";
import { seeded } from "../helpers/random.js";
import { useBackend } from "../helpers/stores/backends.js";
import { userBackends } from "../helpers/stores/users.js";

/** The number of histories for each backend and limit. users.soak.ts runs slow ones for longer. */
const HISTORIES: Record<string, number> = { memory: 60, file: 25, etcd: 8 };
const SLOW_HISTORIES = 3;
const FAULTY_HISTORIES = 3;
/** Enough histories to find every fault. The search ends at the first failure, mostly within two hundred histories. */
const HISTORIES_OF_A_BROKEN_STORE = 10_000;
const LANES = 20;

const seed = firstUserSeed();

describe.each(userBackends)("random histories of users and their sessions in $name", backend => {
  const createStore = useBackend(backend);

  it.each(LIMITS)("keep all promises, with the limit %j", async limit => {
    const count = HISTORIES[backend.name] ?? SLOW_HISTORIES;
    const processes = backend.persistent ? 3 : 1;
    const open = (prefix: string) =>
      Array.from({ length: processes }, () => createStore({ ...historyOptions({ limit }), prefix }));
    figure(`${backend.name}: ${JSON.stringify(await runOn(open, { seed, count, limit }))}`);
  });
});

// A store in memory has the keys of its process.
describe.each(userBackends.filter(({ persistent }) => persistent))(
  "random histories of users in $name",
  backend => {
    const createStore = useBackend(backend);

    it("keep all promises while the key of the encryption is changed", async () => {
      const keys = ["a", "b"].map(text => Buffer.alloc(32, text));
      const open = (prefix: string) =>
        [keys, [...keys].reverse(), keys].map(each =>
          createStore({ ...historyOptions({}), prefix, encryption: { keys: each } }),
        );
      await runOn(open, { seed, count: SLOW_HISTORIES, limit: undefined });
    });
  },
);

describe.each(proxiedUserBackends)("random histories of users through a faulty network to $name", backend => {
  it.each(LIMITS)("keep all promises, with the limit %j", async limit => {
    const users = await ProxiedUsers.open(backend, seeded(seed));
    try {
      figure(`${backend.name}: ${JSON.stringify(await users.run({ seed, count: FAULTY_HISTORIES, limit }))}`);
    } finally {
      await users.close();
    }
  });
});

/** Several in parallel, because they mostly wait. After a failure, no history begins. */
async function inLanes(count: number, run: (number: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < count) {
      await run(next++).catch(error => {
        next = count;
        throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

describe("random histories of users", () => {
  const run = async (number: number, limit: (typeof LIMITS)[number], flaw?: UserFlaw) => {
    const records = new Map<string, string>();
    const random = seeded(seed + number);
    const options = { ...historyOptions({ limit }), prefix: `${randomUUID()}:` };
    const stores: AbstractStore[] = [0, 1, 2].map(() => createSlowStore(records, options, random, flaw));
    await runUserHistory({ stores, seed: seed + number, limit });
  };

  it.each(LIMITS)("pass on a correct store, with the limit %j", async limit => {
    await inLanes(40, number => run(number, limit));
  });

  it.each<[UserFlaw, (typeof LIMITS)[number]]>([
    ["adds entries after the write", undefined],
    ["removes entries by the key of the session", undefined],
    ["lists late", undefined],
    ["adds entries of new sessions only", undefined],
    ["ignores the token of the list", { max: 2, onExceeded: "end-oldest" }],
    ["ignores the token of the list", { max: 2, onExceeded: "reject" }],
  ])("find a store that %s, with the limit %j", async (flaw, limit) => {
    const search = inLanes(HISTORIES_OF_A_BROKEN_STORE, number => run(number, limit, flaw));
    await expect(search).rejects.toThrow(/^Seed \d+: /);
  });
});
