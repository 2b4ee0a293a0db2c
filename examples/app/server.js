// Starts the example application:
//
//   SESSION_STORE    memory, file (the default), dynamodb, etcd, or the URL of a store, such as
//                    etcd://user:password@h1:2379,h2:2379/prefix; see store.js for the settings of the short names
//   PORT             3000
//   SESSION_SECRET   signs the cookies; by default a random one, kept in .data

const { randomBytes } = require("node:crypto");
const { once } = require("node:events");
const { mkdirSync, readFileSync, writeFileSync } = require("node:fs");
const { createServer } = require("node:http");
const { join } = require("node:path");
const { createApp } = require("./app.js");
const { openStore, options } = require("./store.js");

const dataDir = join(__dirname, "../../.data");
const STOP_TIMEOUT_MS = 10_000;

/** An error that the user can fix. Only its message is printed. */
class StartError extends Error {}

async function start() {
  const port = process.env.PORT || "3000";
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    throw new StartError(`PORT is "${port}": expected a number from 0 to 65535.`);
  }
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const backend = openBackend(process.env.SESSION_STORE || "file");

  // Listens only after the engine has responded. Before that, every visitor would get an error.
  await backend.prepare?.().catch(error => unreachable(backend, error));
  await backend.store.ping().catch(error => unreachable(backend, error));

  const app = createApp(backend.store, { secret: sessionSecret(), absoluteTimeout: options.absoluteTimeout });
  const server = createServer(app).listen(Number(port));
  await once(server, "listening").catch(error => {
    if (error.code === "EADDRINUSE") {
      throw new StartError(`Port ${port} is taken: set PORT to another one.`);
    }
    throw new StartError(`Cannot listen on port ${port}: ${error.message}`);
  });
  const storeName = backend.store.constructor.name;
  console.log(`http://localhost:${server.address().port} is open, its sessions are in ${storeName}.`);
  stopOnSignals(server, backend);
}

function openBackend(setting) {
  try {
    const backend = openStore(setting, dataDir);
    // Failures in the background, such as in a sweep, have no caller that would receive them.
    backend.store.on("error", error => console.error("In the background of the session store:", error));
    return backend;
  } catch (error) {
    throw new StartError(error.message);
  }
}

function unreachable({ scheme, hint }, error) {
  const { cause } = error;
  const lines = [
    `The session store "${scheme}" cannot be used: ${error.message}`,
    cause && `Cause: ${cause.message || cause.code}`,
    hint,
  ];
  throw new StartError(lines.filter(Boolean).join("\n"));
}

/**
 * Returns the secret, which is kept in a file so that cookies stay valid after a restart. If several machines share
 * their sessions, then they must share the secret too: set SESSION_SECRET there.
 */
function sessionSecret() {
  if (process.env.SESSION_SECRET) return process.env.SESSION_SECRET;
  const file = join(dataDir, "session-secret");
  try {
    writeFileSync(file, randomBytes(32).toString("hex"), { flag: "wx", mode: 0o600 });
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
  }
  const secret = readFileSync(file, "utf8");
  if (secret.length < 32)
    throw new StartError(`${file} holds no secret: delete it, and the next start makes one.`);
  return secret;
}

function stopOnSignals(server, backend) {
  let stopping = false;
  const stop = async () => {
    // npm forwards a Ctrl-C that the terminal has already sent.
    if (stopping) return;
    stopping = true;
    // Requests in flight may end, but must not take forever.
    setTimeout(() => server.closeAllConnections(), STOP_TIMEOUT_MS).unref();
    await new Promise(closed => server.close(closed));
    await backend.close();
    // No process.exit(), so that anything left open shows up here.
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
}

start().catch(error => {
  console.error(error instanceof StartError ? error.message : error);
  process.exit(1);
});
