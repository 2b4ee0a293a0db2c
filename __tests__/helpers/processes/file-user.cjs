// Uses a session file in a separate process until stdin ends. Arguments: the path, then the action:
//
//   use              reads and writes a session, then says "ready" or the error as JSON, with the milliseconds it took
//   read-and-die     reads a session and is killed in the same turn of the event loop
//   stop-with-lock   is stopped while it holds LMDB's write lock, with or without the tables of a session file

const { writeSync } = require("node:fs");

const [path, task] = process.argv.slice(2);
const say = line => writeSync(1, `${line}\n`);

async function use() {
  const { FileStore } = require("express-session-stores/file");
  const store = new FileStore({ path, cleanupInterval: 0 });
  const start = performance.now();
  const sid = `of-${process.pid}-${Math.random()}`;
  try {
    await store.get(sid);
    await store.set(sid, { cookie: {} });
    say("ready");
  } catch ({ code, message }) {
    say(JSON.stringify({ code, message, ms: performance.now() - start }));
  }
  process.stdin.resume().on("end", async () => {
    await store.close();
    process.exit();
  });
}

async function readAndDie() {
  const { FileStore } = require("express-session-stores/file");
  const store = new FileStore({ path, cleanupInterval: 0 });
  await store.ping();
  setImmediate(() => {
    store.get("sid", () => {});
    process.kill(process.pid, "SIGKILL");
  });
}

function stopWithLock() {
  const environment = require("lmdb").open({
    path,
    noSubdir: true,
    maxDbs: 4,
    maxReaders: 4096,
    overlappingSync: false,
  });
  environment.transactionSync(() => {
    say("stopped");
    process.kill(process.pid, "SIGSTOP");
  });
  setInterval(() => {}, 1000);
}

void { use, "read-and-die": readAndDie, "stop-with-lock": stopWithLock }[task]();
