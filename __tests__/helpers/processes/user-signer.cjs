// Signs in and out in a separate process until it is killed. Arguments: the path of the session file, then the limit.

const { FileStore } = require("express-session-stores/file");

const [path, max] = process.argv.slice(2);
const store = new FileStore({
  path,
  cleanupInterval: 0,
  user: session => session.user,
  maxSessionsPerUser: { max: Number(max), onExceeded: process.pid % 2 === 0 ? "reject" : "end-oldest" },
});
const below = end => Math.floor(Math.random() * end);
const anyUser = () => ["ann", "bob"][below(2)];
const sids = [];

async function step() {
  const sid = sids[below(sids.length)];
  const choice = below(10);
  if (choice < 5 || sid === undefined) {
    const created = `s${process.pid}-${sids.length}`;
    sids.push(created);
    await store.set(created, { cookie: {}, user: anyUser() });
  } else if (choice < 7) {
    const session = await store.get(sid);
    if (session !== null) await store.set(sid, Object.assign(session, { user: anyUser() }));
  } else if (choice < 9) await store.destroy(sid);
  else await store.destroyByUser(anyUser());
}

async function run() {
  for (;;) {
    await Promise.all([step(), step()].map(each => each.catch(ignoreLimit)));
    process.stdout.write(".");
  }
}

function ignoreLimit(error) {
  if (error.code !== "ERR_TOO_MANY_SESSIONS") throw error;
}

void run();
