import { figure } from "../helpers/measures/figures.js";
import { firstUserSeed, historyOptions } from "../helpers/model/user-histories.js";
import { LIMITS, ProxiedUsers, proxiedUserBackends, runOn } from "../helpers/model/user-runs.js";
import { seeded } from "../helpers/random.js";
import { useBackend } from "../helpers/stores/backends.js";
import { userBackends } from "../helpers/stores/users.js";

const HISTORIES = 300;
const FAULTY_HISTORIES = 100;

describe.each(userBackends)("random histories of users and their sessions in $name", backend => {
  const createStore = useBackend(backend);

  it.each(LIMITS)(`keep all promises with the limit %j, ${HISTORIES} times`, async limit => {
    const seed = firstUserSeed();
    const processes = backend.persistent ? 3 : 1;
    const open = (prefix: string) =>
      Array.from({ length: processes }, () => createStore({ ...historyOptions({ limit }), prefix }));
    const counts = await runOn(open, { seed, count: HISTORIES, limit });
    figure(`${backend.name}: ${HISTORIES} histories from seed ${seed}: ${JSON.stringify(counts)}`);
  });
});

describe.each(proxiedUserBackends)("random histories of users through a faulty network to $name", backend => {
  it.each(LIMITS)(`keep all promises with the limit %j, ${FAULTY_HISTORIES} times`, async limit => {
    const seed = firstUserSeed();
    const users = await ProxiedUsers.open(backend, seeded(seed));
    try {
      const counts = await users.run({ seed, count: FAULTY_HISTORIES, limit });
      figure(`${backend.name}: ${FAULTY_HISTORIES} histories from seed ${seed}: ${JSON.stringify(counts)}`);
    } finally {
      await users.close();
    }
  });
});
