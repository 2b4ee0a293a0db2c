import { createHook } from "node:async_hooks";
import { childArguments } from "../lib/child.js";
import { median } from "../lib/measure.js";
import { OPERATIONS, runOnce } from "../lib/operations.js";

const WARM_UP_MS = 3000;
const SETS = 5;

const { kind, name, at } = childArguments();
const { contenders } = await import(`../stores/${kind}.js`);
const contender = await contenders[name](at, { touchAfter: 0 });

/** The growth of `count` per operation, as the median of several working sets. */
async function perOperation(count) {
  const sets = [];
  for (let set = 0; set < SETS; set++) {
    const grown = {};
    await runOnce(contender, 1, {
      before(operation) {
        globalThis.gc();
        grown[operation] = -count();
      },
      after(operation, operations) {
        grown[operation] = (grown[operation] + count()) / operations;
      },
    });
    sets.push(grown);
  }
  return Object.fromEntries(
    OPERATIONS.map(operation => [operation, median(sets.map(grown => grown[operation]))]),
  );
}

const end = performance.now() + WARM_UP_MS;
while (performance.now() < end) await runOnce(contender, 1);
const bytes = await perOperation(() => process.memoryUsage().heapUsed);
let made = 0;
createHook({
  init(_id, type) {
    if (type === "PROMISE") made += 1;
  },
}).enable();
const promises = await perOperation(() => made);
process.send({ bytes, promises });
process.disconnect();
await contender.close();
process.exit();
