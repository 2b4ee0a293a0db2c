import fc from "fast-check";
import { faults, MapStore } from "./helpers/broken-stores.js";
import { concurrentProperty } from "./helpers/model-clients.js";
import { modelBackends, PROCESSES_RUNS, runClients, runProcesses } from "./helpers/model-runs.js";

describe("clients at work at once lose no change, and see nothing that is destroyed or that nobody wrote", () => {
  it.each(modelBackends)(
    "$backend.name, $concurrentRuns runs",
    modelBackend => runClients(modelBackend, modelBackend.concurrentRuns),
    120_000,
  );

  it(
    `over HTTP on four processes that share a session file, ${PROCESSES_RUNS} runs`,
    () => runProcesses(PROCESSES_RUNS),
    120_000,
  );
});

describe("clients at work at once find a store that", () => {
  it.each([
    "brings back what was destroyed",
    "takes a session that was created again for the one that was loaded",
    "forgets what a request has loaded",
    "writes over what another request changed",
    "checks the version and writes in two steps",
    "saves the session with a touch",
    "shares one object between requests",
    "destroys nothing",
  ])("%s", async does => {
    const fault = faults.find(fault => fault.does === does);
    const records = new Map<string, string>();
    const property = concurrentProperty(options => {
      const store = new MapStore(options, records);
      fault?.breakStore(store);
      return store;
    }, true);
    const { errorInstance } = await fc.check(property, { numRuns: 1000, endOnFailure: true });
    expect(errorInstance).toMatchObject({ code: "ERR_ASSERTION" });
  });
});
