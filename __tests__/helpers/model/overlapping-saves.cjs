// Saves of one session that overlap, in this process and others: a request's save waits while another request of the
// same process loads the session and changes it, and the process is busy meanwhile. Run as a program, with a path,
// a sid, a name, and a number of rounds, it does so with a FileStore and writes what was lost as JSON.

const { setImmediate: turn } = require("node:timers/promises");
const { FileStore } = require("express-session-stores/file");

const MOST_BUSY_MS = 30;

/** In every other round on average the process does nothing else for some time, once LMDB's thread has the write. */
async function busy() {
  await turn();
  const end = performance.now() + Math.max(0, Math.random() * 2 - 1) * MOST_BUSY_MS;
  while (performance.now() < end);
}

/**
 * Changes two keys of its own in each round. Each `get` has to show what was acknowledged of them. Returns what was
 * lost.
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
