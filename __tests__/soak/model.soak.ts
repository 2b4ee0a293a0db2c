import { modelBackends, PROCESSES_RUNS, runClients, runModel, runProcesses } from "../helpers/model-runs.js";

/** The runs of the test command, ten times. */
const TIMES = 10;

describe("a store does what the model of the contract does", () => {
  it.each(modelBackends)(`$backend.name, ${TIMES} times $runs runs`, modelBackend =>
    runModel(modelBackend, TIMES * modelBackend.runs),
  );
});

describe("clients at work at once lose no change, and see nothing that is destroyed or that nobody wrote", () => {
  it.each(modelBackends)(`$backend.name, ${TIMES} times $concurrentRuns runs`, modelBackend =>
    runClients(modelBackend, TIMES * modelBackend.concurrentRuns),
  );

  it(`over HTTP on four processes that share a session file, ${TIMES} times ${PROCESSES_RUNS} runs`, () =>
    runProcesses(TIMES * PROCESSES_RUNS));
});
