// One group of contenders, in a process of its own: node --expose-gc group.js <group> <rounds> <file for the results>
import { writeFileSync } from "node:fs";
import { runOperations } from "./lib/operations.js";

const [group, rounds, file] = process.argv.slice(2);
const { contenders, counts, stop } = await import(`./groups/${group}.js`);
const names = Object.keys(contenders);
const measured = {};
try {
  for (const [inFlight, count] of Object.entries(counts)) {
    measured[inFlight] = [];
    // The first round warms up and does not count.
    for (let round = 0; round <= Number(rounds); round++) {
      const results = {};
      // Each contender comes first in some rounds.
      for (let turn = 0; turn < names.length; turn++) {
        const name = names[(turn + round) % names.length];
        const contender = await contenders[name]();
        results[name] = await runOperations(contender, count, Number(inFlight));
        await contender.close();
      }
      if (round > 0) measured[inFlight].push(results);
    }
  }
} finally {
  await stop?.();
}
writeFileSync(file, JSON.stringify(measured));
// Peers leave timers behind.
process.exit();
