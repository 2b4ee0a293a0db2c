// Several processes that serve requests from one store together. Four of five requests get a session and touch it, the
// fifth gets and saves it. Another process reads back everything that was saved.
import { startChild } from "../lib/child.js";
import { interleave, percentile } from "../lib/measure.js";
import { get, set } from "../lib/operations.js";
import { assertSession, newSession, newSid } from "../lib/sessions.js";
import { figure, middle, table } from "../lib/tables.js";

export const kinds = ["file", "dynamodb", "etcd"];
export const title = "Requests by the number of processes";

export const PROCESSES = [1, 2, 4, 8];
const MOST_PROCESSES = Math.max(...PROCESSES);
const MOST_ROUNDS = 3;
const IN_FLIGHT = 16;
const SESSIONS_OF_A_PROCESS = 256;
const SAVE_EVERY = 5;
const RUN_MS = 1500;
/** The time until a command has reached all processes. */
const DELAY_MS = 100;

const contenders = {
  file: ["ours", "session-file-store"],
  dynamodb: ["ours", "connect-dynamodb"],
  etcd: ["ours", "connect-redis"],
};

export async function measurePart({ kind, stores, at, rounds }) {
  const place = { ...at, kept: "processes" };
  const groups = {};
  try {
    for (const name of contenders[kind]) {
      groups[name] = await startGroup(kind, name, place, await stores.contenders[name](place));
      await runGroup(groups[name], MOST_PROCESSES);
    }
    const counts = {};
    for (const count of PROCESSES) {
      counts[count] = await interleave(
        contenders[kind],
        Math.min(rounds, MOST_ROUNDS),
        name => runGroup(groups[name], count),
        { warmUp: false },
      );
    }
    return { counts };
  } finally {
    for (const { children, contender } of Object.values(groups)) {
      for (const child of children) await child.stop();
      await contender.close();
    }
  }
}

/** Starts the largest number of processes that is needed, each with sessions that this process has stored. */
async function startGroup(kind, name, at, contender) {
  const sidsOf = Array.from({ length: MOST_PROCESSES }, () =>
    Array.from({ length: SESSIONS_OF_A_PROCESS }, newSid),
  );
  for (const sids of sidsOf) {
    await Promise.all(sids.map(sid => set(contender, sid, newSession(sid, contender.store))));
  }
  const children = sidsOf.map(sids => startChild("requests", { kind, name, at, sids }, ["--expose-gc"]));
  await Promise.all(children.map(child => child.message()));
  return { contender, sidsOf, children };
}

async function runGroup({ contender, sidsOf, children }, count) {
  const command = {
    inFlight: IN_FLIGHT,
    saveEvery: SAVE_EVERY,
    runMs: RUN_MS,
    beginAt: Date.now() + DELAY_MS,
  };
  const answers = await Promise.all(children.slice(0, count).map(child => child.ask(["run", command])));
  for (const [process, { numbers }] of answers.entries()) {
    const sids = sidsOf[process];
    const found = await Promise.all(sids.map(sid => get(contender, sid)));
    for (const [index, data] of found.entries()) assertSession(data, sids[index], numbers[index]);
  }
  const latencies = answers.flatMap(answer => answer.latencies);
  return {
    perSecond: latencies.length / (RUN_MS / 1000),
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
  };
}

export function processesValue({ counts }, count, name, key) {
  return middle(counts[count], name, results => results[key]);
}

export function contendersOf({ counts }) {
  return Object.keys(counts[1][0]);
}

export function report(measured) {
  return table(
    [
      `requests a second (p50, p99 in ms), ${IN_FLIGHT} in flight in each process`,
      ...PROCESSES.map(count => `${count} ${count === 1 ? "process" : "processes"}`),
    ],
    contendersOf(measured).map(name => [
      name,
      ...PROCESSES.map(count => {
        const of = key => figure(processesValue(measured, count, name, key));
        return `${of("perSecond")} (${of("p50")}, ${of("p99")})`;
      }),
    ]),
  );
}
