// Overlapping saves of one session, in this process and in others. A request's save waits while another request of the
// same process loads and changes the session, and the process is busy. As a program, it uses a FileStore and prints the
// lost changes as JSON. Its arguments are a path, a sid, a name, and a number of rounds.

const { setImmediate: turn } = require("node:timers/promises");
const { FileStore } = require("express-session-stores/file");

const MOST_BUSY_MS = 30;

/** Blocks the process for some time in about every other round, after LMDB's thread has received the write. */
async function busy() {
  await turn();
  const end = performance.now() + Math.max(0, Math.random() * 2 - 1) * MOST_BUSY_MS;
  while (performance.now() < end);
}

/**
 * Changes two keys of its own in each round. Each `get` must return the acknowledged values. Returns the lost changes.
 *
 * @param pause - called while the first save of a round waits
 */
async function overlapSaves(store, sid, name, rounds, pause) {
  const acknowledged = {};
  const lost = [];
  const load = async () => {
    const expected = { ...acknowledged };
    const session = await store.get(sid);
    for (const [key, value] of Object.entries(expected)) {
      if (!(session?.[key] >= value)) lost.push(`${key}: ${session?.[key]} instead of ${value}`);
    }
    return session;
  };
  const save = async (session, key, value) => {
    session[key] = value;
    await store.set(sid, session);
    acknowledged[key] = value;
  };
  for (let round = 1; round <= rounds; round++) {
    const first = save(await load(), `${name}-first`, round);
    await pause();
    const second = save(await load(), `${name}-second`, round);
    await Promise.all([first, second]);
  }
  await load();
  return lost;
}

async function main([path, sid, name, rounds]) {
  const store = new FileStore({ path });
  const lost = await overlapSaves(store, sid, name, Number(rounds), busy);
  await store.close();
  process.stdout.write(JSON.stringify(lost));
}

if (require.main === module) void main(process.argv.slice(2));

module.exports = { overlapSaves };
