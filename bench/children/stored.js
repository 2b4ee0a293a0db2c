// One contender with a growing number of stored sessions. Reads and saves sessions, each chosen at random among all,
// and checks every session that it reads.
import { setImmediate as nextTurn } from "node:timers/promises";
import { answerCommands, childArguments } from "../lib/child.js";
import { measure, summary } from "../lib/measure.js";
import { get } from "../lib/operations.js";
import { assertSession, inflate, newSession, newSid } from "../lib/sessions.js";

const FILLED_TOGETHER = 256;
/** The most loaded sessions at a time. With more, the garbage of the benchmark itself would be measured. */
const WORKING_SET = 250;

const { kind, name, at, options } = childArguments();
// MemoryStore warns that it is not meant for production.
console.warn = () => {};
const { contenders } = await import(`../stores/${kind}.js`);
const contender = await contenders[name](at, options);
const { store } = contender;

const sids = [];
/** The number that was last saved in each session. */
const numbers = [];

async function fill(size) {
  const first = sids.length;
  for (let index = first; index < size; index++) {
    sids.push(newSid());
    numbers.push(0);
  }
  const filled = await measure(size - first, FILLED_TOGETHER, (index, done) => {
    const sid = sids[first + index];
    contender.set(sid, newSession(sid, store), done);
  });
  globalThis.gc();
  return { perSecond: (size - first) / (filled.ms / 1000) };
}

function choose() {
  const chosen = new Set();
  while (chosen.size < WORKING_SET) chosen.add(Math.floor(Math.random() * sids.length));
  return [...chosen];
}

async function load(chosen, inFlight) {
  const found = new Array(chosen.length);
  const measured = await measure(chosen.length, inFlight, (index, done) =>
    contender.get(sids[chosen[index]], (error, data) => {
      found[index] = data;
      done(error);
    }),
  );
  for (const [index, data] of found.entries()) {
    assertSession(data, sids[chosen[index]], numbers[chosen[index]]);
  }
  return { found, measured };
}

async function run(inFlight, runMs) {
  const gets = [];
  const saves = [];
  const end = performance.now() + runMs;
  do {
    const chosen = choose();
    await nextTurn();
    const { found, measured } = await load(chosen, inFlight);
    gets.push(measured);
    const loaded = found.map((data, index) => {
      const sid = sids[chosen[index]];
      const session = inflate(sid, store, data);
      session.number = numbers[chosen[index]] += 1;
      session.check = `${sid}/${session.number}`;
      return session;
    });
    await nextTurn();
    saves.push(
      await measure(chosen.length, inFlight, (index, done) =>
        contender.set(sids[chosen[index]], loaded[index], done),
      ),
    );
    await load(chosen, 64);
  } while (performance.now() < end);
  return { get: summary(gets), "set loaded": summary(saves) };
}

/** A session that another process can look up. */
async function sample() {
  assertSession(await get(contender, sids[0]), sids[0], numbers[0]);
  return { sid: sids[0], number: numbers[0] };
}

answerCommands({ fill, run, sample }, () => contender.close());
process.send("ready");
