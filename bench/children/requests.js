// One of several processes that serve requests from the same store: each request gets a session, and then touches or
// saves it. The parent gives each process its sessions. Every session that is read is checked.
import { answerCommands, childArguments } from "../lib/child.js";
import { assertSession, inflate } from "../lib/sessions.js";

const { kind, name, at, sids } = childArguments();
const { contenders } = await import(`../stores/${kind}.js`);
const contender = await contenders[name](at);
const { store } = contender;

/** The number that was last saved in each session. */
const numbers = sids.map(() => 0);

/** Runs one request after the other until `end`, each for the next session of the lane. */
function lane(sessions, end, saveEvery, latencies) {
  return new Promise((resolve, reject) => {
    let count = 0;
    const next = () => {
      const began = performance.now();
      if (began >= end) return resolve();
      const index = sessions[count % sessions.length];
      const isSave = ++count % saveEvery === 0;
      const sid = sids[index];
      const done = error => {
        if (error) return reject(error);
        const ended = performance.now();
        if (ended < end) latencies.push(Math.round((ended - began) * 1000) / 1000);
        next();
      };
      contender.get(sid, (error, data) => {
        if (error) return reject(error);
        try {
          assertSession(data, sid, numbers[index]);
          const session = inflate(sid, store, data);
          if (!isSave) return contender.touch(sid, session, done);
          session.number = numbers[index] += 1;
          session.check = `${sid}/${session.number}`;
          contender.set(sid, session, done);
        } catch (thrown) {
          reject(thrown);
        }
      });
    };
    next();
  });
}

/** @param beginAt - on the clock that all processes share */
async function run({ inFlight, saveEvery, runMs, beginAt }) {
  globalThis.gc();
  await new Promise(resolve => setTimeout(resolve, beginAt - Date.now()));
  const latencies = [];
  const end = performance.now() + runMs;
  const lanes = Array.from({ length: inFlight }, (_none, first) =>
    lane(
      sids.map((_sid, index) => index).filter(index => index % inFlight === first),
      end,
      saveEvery,
      latencies,
    ),
  );
  await Promise.all(lanes);
  return { latencies, numbers };
}

answerCommands({ run }, () => contender.close());
process.send("ready");
