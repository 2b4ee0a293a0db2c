// Writes sessions to a file until it is killed, or until stdin requests its end. Arguments: the path, a name for its
// sessions, and a number that no earlier writer with that name had.
//
// It prints a line before each write, "> place value", and a line after its acknowledgment, "< place value". An error
// is "! code message". A place is a sid, or `shared/<name>`: the field with that name in a session that all writers
// change. The value 0 means that the session was destroyed.

const { writeSync } = require("node:fs");
const { FileStore } = require("express-session-stores/file");

const LANES = 6;
const SIDS_PER_LANE = 4;

const [path, name, start] = process.argv.slice(2);
const store = new FileStore({ path, cleanupInterval: 1 });

let value = Number(start) * 1_000_000;
let stopped = false;
process.stdin.resume().on("end", () => {
  stopped = true;
});

const say = line => writeSync(1, `${line}\n`);

const changes = [
  sid => write(sid, () => ({ cookie: { originalMaxAge: null } })),
  sid => write(sid, async () => (await store.get(sid)) ?? { cookie: { originalMaxAge: null } }),
  async sid => {
    say(`> ${sid} 0`);
    await store.destroy(sid);
    say(`< ${sid} 0`);
  },
  async sid => store.touch(sid, { cookie: { originalMaxAge: null } }),
];

async function write(sid, find) {
  const session = await find();
  value += 1;
  const written = value;
  say(`> ${sid} ${written}`);
  // Sessions have all sizes, some of several pages. The content depends on the value, so that a mixture is noticed.
  await store.set(sid, { ...session, value: written, filling: String(written).repeat(2 ** (written % 11)) });
  say(`< ${sid} ${written}`);
}

async function changeShared() {
  const session = (await store.get("shared")) ?? { cookie: { originalMaxAge: null } };
  value += 1;
  const written = value;
  session[name] = written;
  say(`> shared/${name} ${written}`);
  await store.set("shared", session);
  say(`< shared/${name} ${written}`);
}

async function lane(number) {
  while (!stopped) {
    const sid = `${name}-${number}-${Math.floor(Math.random() * SIDS_PER_LANE)}`;
    await changes[Math.floor(Math.random() * changes.length)](sid);
    if (number === 0) await changeShared();
  }
}

say("ready");
Promise.all(Array.from({ length: LANES }, (_, number) => lane(number)))
  .then(() => store.close())
  .catch(error => {
    say(`! ${error.code} ${error.message}`);
    process.exit(1);
  });
