import { proxiedBackends } from "../helpers/faults/proxied-backends.js";
import { expectFinding } from "../helpers/model/broken.js";
import { BUSY, concurrentProperty, FAULTY } from "../helpers/model/clients.js";
import {
  modelBackends,
  PROCESSES_ROUNDS,
  PROCESSES_RUNS,
  PROXIED_RUNS,
  runClients,
  runOverlappingProcesses,
  runOverlappingSaves,
  runProcesses,
  runProxiedClients,
} from "../helpers/model/runs.js";

describe("clients at work at once lose no change, and see nothing that is destroyed or that nobody wrote", () => {
  it.each(modelBackends)(
    "$backend.name, $busyRuns histories",
    modelBackend => runClients(modelBackend, BUSY, modelBackend.busyRuns),
    120_000,
  );

  it(
    `over HTTP on four processes that share a session file, ${PROCESSES_RUNS} histories`,
    () => runProcesses(PROCESSES_RUNS),
    120_000,
  );
});

describe("the same holds with requests that are lost, repeated and late, and every conflict is reported", () => {
  it.each(modelBackends.filter(({ faultyRuns }) => faultyRuns > 0))(
    "$backend.name, $faultyRuns histories",
    modelBackend => runClients(modelBackend, FAULTY, modelBackend.faultyRuns),
    120_000,
  );
});

describe("the same holds behind proxies that lose, repeat and hold what real clients send", () => {
  it.each(proxiedBackends.filter(({ name }) => name === "dynalite" || name === "etcd"))(
    `$name, ${PROXIED_RUNS} histories`,
    backend => runProxiedClients(backend, PROXIED_RUNS),
    120_000,
  );
});

describe("saves of one session that overlap in two stores lose nothing", () => {
  it.each(modelBackends.filter(({ rounds }) => rounds > 0))(
    "$backend.name, $rounds rounds",
    modelBackend => runOverlappingSaves(modelBackend, modelBackend.rounds),
    120_000,
  );

  it(
    `in two processes that share a session file and are busy while their saves wait, ${PROCESSES_ROUNDS} rounds`,
    () => runOverlappingProcesses(PROCESSES_ROUNDS),
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
  ])("%s", does => expectFinding(does, stores => concurrentProperty(stores, true, BUSY)));
});

describe("requests that are lost, repeated and late find a store that", () => {
  it.each([
    "keeps the id of the last write only",
    "leaves no tombstone",
    "leaves no tombstone for a save that is sent again",
    "writes over a tombstone as over nothing",
    "undoes later saves by a late first one",
    "undoes later saves by a late one",
    "removes a new session by a late removal",
    "says nothing of conflicts",
  ])("%s", does => expectFinding(does, stores => concurrentProperty(stores, true, FAULTY)));
});
