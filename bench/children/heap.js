import { childArguments } from "../lib/child.js";
import { get, set } from "../lib/operations.js";
import { assertSession, newSession, newSid } from "../lib/sessions.js";

const { kind, name, at, count } = childArguments();
const { contenders } = await import(`../stores/${kind}.js`);
const contender = await contenders[name](at);

async function collected() {
  for (let turn = 0; turn < 3; turn++) {
    globalThis.gc();
    await new Promise(resolve => setImmediate(resolve));
  }
  const { heapUsed, external, arrayBuffers, rss } = process.memoryUsage();
  return { heap: heapUsed + external + arrayBuffers, resident: rss };
}

async function fill(some) {
  const kept = [];
  for (let index = 0; index < some; index++) {
    const sid = newSid();
    await set(contender, sid, newSession(sid, contender.store));
    if (index % 500 === 0) kept.push(sid);
  }
  for (const sid of kept) assertSession(await get(contender, sid), sid, 0);
}

// A first round, because what is compiled and allocated only once does not count as part of a session.
await fill(1000);
const before = await collected();
await fill(count);
const after = await collected();
process.send({
  heap: (after.heap - before.heap) / count,
  resident: (after.resident - before.resident) / count,
});
process.disconnect();
await contender.close();
process.exit();
