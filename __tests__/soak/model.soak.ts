import { proxiedBackends } from "../helpers/faults/proxied-backends.js";
import { BUSY, FAULTY } from "../helpers/model/clients.js";
import {
  modelBackends,
  runClients,
  runModel,
  runOverlappingProcesses,
  runOverlappingSaves,
  runProcesses,
  runProxiedClients,
  runSchedules,
} from "../helpers/model/runs.js";

/** How many times as much as the test command. */
const TIMES = 10;
const HISTORIES = 1000;
const PROXIED_HISTORIES = 300;
const SCHEDULES = 500;
const ROUNDS = 1000;
/** Seeds after those of the test command. */
const FIRST_SEED = 100_000;

const shared = modelBackends.filter(({ schedules }) => schedules > 0);

describe("a store does what the model of the contract does", () => {
  it.each(modelBackends)(`$backend.name, ${TIMES} times $runs runs`, modelBackend =>
    runModel(modelBackend, TIMES * modelBackend.runs),
  );
});

describe("clients at work at once lose no change, and see nothing that is destroyed or that nobody wrote", () => {
  it.each(modelBackends)(`$backend.name, ${TIMES} times $busyRuns histories`, modelBackend =>
    runClients(modelBackend, BUSY, TIMES * modelBackend.busyRuns),
  );

  it(`over HTTP on four processes that share a session file, ${HISTORIES / 2} histories`, () =>
    runProcesses(HISTORIES / 2));
});

describe("the same holds with requests that are lost, repeated and late, and every conflict is reported", () => {
  it.each(shared)(`$backend.name, ${HISTORIES} histories`, modelBackend =>
    runClients(modelBackend, FAULTY, Math.max(HISTORIES, TIMES * modelBackend.faultyRuns)),
  );
});

describe("the same holds behind proxies that lose, repeat and hold what real clients send", () => {
  it.each(proxiedBackends)(`$name, ${PROXIED_HISTORIES} histories`, backend =>
    runProxiedClients(backend, PROXIED_HISTORIES),
  );
});

describe("saves of one session that overlap in two stores lose nothing", () => {
  it.each(shared)(`$backend.name, ${ROUNDS} rounds`, modelBackend =>
    runOverlappingSaves(modelBackend, ROUNDS),
  );

  it(`in two processes that share a session file, ${ROUNDS} rounds`, () => runOverlappingProcesses(ROUNDS));
});

describe("requests from hosts whose clocks differ end no session early and keep none too long", () => {
  it.each(shared)(`$backend.name, ${SCHEDULES} schedules`, modelBackend =>
    runSchedules(modelBackend, Math.max(SCHEDULES, TIMES * modelBackend.schedules), FIRST_SEED),
  );
});
