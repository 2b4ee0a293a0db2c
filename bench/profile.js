// node --expose-gc bench/profile.js <kind> <contender> <operation> [in flight]
//
// Shows where the processor time of one operation goes: the functions with the most time of their own, as shares of the
// time in which the process was busy.
import { Session } from "node:inspector/promises";
import { sep } from "node:path";
import { OPERATIONS, runOnce } from "./lib/operations.js";
import { figure, table } from "./lib/tables.js";

const [kind, name, operation, inFlight = "1"] = process.argv.slice(2);
if (!OPERATIONS.includes(operation)) {
  console.error(
    `usage: node --expose-gc bench/profile.js <kind> <contender> <${OPERATIONS.join("|")}> [in flight]`,
  );
  process.exit(2);
}
const WARM_UP_MS = 3000;
const PROFILE_MS = 6000;
const ROWS = 12;

const { contenders, start } = await import(`./stores/${kind}.js`);
const { at, stop } = await start();
const contender = await contenders[name](at, { touchAfter: 0 });
const inspector = new Session();
inspector.connect();
await inspector.post("Profiler.enable");
await inspector.post("Profiler.setSamplingInterval", { interval: 200 });

/** Microseconds on the clock of the profiler. */
const now = () => Number(process.hrtime.bigint() / 1000n);
/** The times at which the operation was in flight. All operations are run, but only this one is watched. */
const spans = [];
const watch = {
  before: phase => phase === operation && spans.push([now()]),
  after: phase => phase === operation && spans.at(-1).push(now()),
};

const until = async (ms, hooks) => {
  const end = performance.now() + ms;
  while (performance.now() < end) await runOnce(contender, Number(inFlight), hooks);
};
await until(WARM_UP_MS);
await inspector.post("Profiler.start");
await until(PROFILE_MS, watch);
const { profile } = await inspector.post("Profiler.stop");

const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
const times = new Map();
let time = profile.startTime;
let span = 0;
for (const [index, id] of profile.samples.entries()) {
  time += profile.timeDeltas[index];
  while (span < spans.length && spans[span][1] < time) span += 1;
  const { functionName, url } = frames.get(id);
  if (span === spans.length || time < spans[span][0] || functionName === "(idle)") continue;
  const where = url.split(sep).slice(-2).join("/").replace("node:", "");
  const what = `${functionName || "(anonymous)"}${where && `, ${where}`}`;
  times.set(what, (times.get(what) ?? 0) + profile.timeDeltas[index]);
}
const total = [...times.values()].reduce((sum, own) => sum + own, 0);
const most = [...times].sort(([, a], [, b]) => b - a).slice(0, ROWS);
console.log(
  table(
    ["% of busy time", "function"],
    most.map(([what, own]) => [figure((own / total) * 100), what]),
  ),
);
await contender.close();
await stop();
process.exit();
