// Runs one part on one kind of store, in its own process: node --expose-gc part.js <part> <kind> <rounds> <file>
import { writeFileSync } from "node:fs";

const [name, kind, rounds, file] = process.argv.slice(2);
const part = await import(`./parts/${name}.js`);
const stores = await import(`./stores/${kind}.js`);
const { at, stop } = await stores.start();
let failed = false;
try {
  const measured = await part.measurePart({ kind, stores, at, rounds: Number(rounds) });
  writeFileSync(file, JSON.stringify(measured));
} catch (error) {
  failed = true;
  console.error(error);
} finally {
  await stop();
}
// Exits explicitly, because peers leave timers behind.
process.exit(failed ? 1 : 0);
