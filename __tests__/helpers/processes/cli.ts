import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AbstractStore, createStore, type StoreOptions } from "../../../lib/index.js";
import { etcdEndpoints } from "../engines/engines.js";

/** The built program. */
export const PROGRAM = join(__dirname, "../../../dist/cli.js");

/** The engines require credentials, but accept any. */
const AWS = { AWS_ACCESS_KEY_ID: "local", AWS_SECRET_ACCESS_KEY: "local" };

export interface CliOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
}

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running process of the program. */
export class CliProcess {
  readonly child: ChildProcess;
  readonly result: Promise<CliResult>;
  stdout = "";
  stderr = "";

  constructor(command: string, args: readonly string[], { cwd, env, input }: CliOptions = {}) {
    // Not the whole environment of the tests, which contains for example the flags of their Node.js.
    const { PATH, HOME, TMPDIR } = process.env;
    this.child = spawn(command, args, { cwd, env: { PATH, HOME, TMPDIR, ...AWS, ...env } });
    this.child.stdout?.setEncoding("utf8").on("data", chunk => {
      this.stdout += chunk;
    });
    this.child.stderr?.setEncoding("utf8").on("data", chunk => {
      this.stderr += chunk;
    });
    if (input !== undefined) this.child.stdin?.end(input);
    this.result = once(this.child, "close").then(([code]) => ({
      code,
      stdout: this.stdout,
      stderr: withoutWarnings(this.stderr),
    }));
  }

  /** Waits until the output of the process matches. */
  async until(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.stdout + this.stderr)) {
      if (this.child.exitCode !== null) throw new Error(`It ended: ${this.stdout}${this.stderr}`);
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  }
}

export function start(args: readonly string[], options?: CliOptions): CliProcess {
  return new CliProcess(process.execPath, [PROGRAM, ...args], options);
}

/** Runs the program to its end, with an empty stdin unless there is an input. */
export async function cli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  return await start(args, { input: "", ...options }).result;
}

/** Starts the program on a pseudoterminal, for its stdin, stdout and stderr. */
export function startOnTerminal(args: readonly string[], { env, ...options }: CliOptions = {}): CliProcess {
  const command = [process.execPath, PROGRAM, ...args].map(part => `'${part}'`).join(" ");
  return new CliProcess("script", ["-qec", command, "/dev/null"], {
    ...options,
    env: { TERM: "xterm", SHELL: "/bin/sh", ...env },
  });
}

/** The lines of a result as JSON. */
export function jsonLines(stdout: string): Record<string, unknown>[] {
  return stdout
    .split("\n")
    .filter(line => line !== "")
    .map(line => JSON.parse(line));
}

/** Removes the AWS SDK's warnings about versions of Node.js that it will not support. */
function withoutWarnings(stderr: string): string {
  return stderr.replace(/\(node:\d+\) Warning: NodeVersionSupportWarning[\s\S]*?\(Use `node .*\)\n/g, "");
}

/** A place for sessions that has a URL. */
export interface CliBackend {
  readonly name: string;
  /** Creates a new place for sessions. Resolves with its URL. */
  create(folder: string): Promise<string>;
}

function dynamodb(name: string, variable: string): CliBackend {
  return {
    name,
    async create() {
      Object.assign(process.env, AWS);
      const url = `dynamodb://us-east-1/cli-${randomUUID()}?endpoint=${process.env[variable]}`;
      const store = createStore(url) as AbstractStore & { createTable(): Promise<void> };
      await store.createTable();
      await store.close();
      return url;
    },
  };
}

export const etcdHost = () => etcdEndpoints()[0]?.replace("http://", "");

export const fileBackend: CliBackend = {
  name: "file",
  create: async folder => `file:${join(folder, randomUUID(), "sessions.lmdb")}`,
};
export const etcdBackend: CliBackend = {
  name: "etcd",
  create: async () => `etcd://${etcdHost()}/cli-${randomUUID()}:`,
};
export const dynamodbBackend = dynamodb("DynamoDB Local", "DYNAMODB_ENDPOINT");
export const dynaliteBackend = dynamodb("dynalite", "DYNALITE_ENDPOINT");

/** A folder for the tests of a file. */
export function useFolder(): () => string {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "express-session-stores-cli-"));
  });
  afterAll(() => rm(folder, { recursive: true }));
  return () => folder;
}

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** The sessions that {@link seed} saves, by sid: the user, the days since the last use, the size. */
export const seeded: Record<string, { user?: string; idleDays: number; size: number }> = {
  "sid-of-ada-1": { user: "ada", idleDays: 0, size: 10 },
  "sid-of-ada-2": { user: "ada", idleDays: 40, size: 3000 },
  "sid-of-grace": { user: "grace@example.org", idleDays: 10, size: 200_000 },
  "sid-of-nobody-1": { idleDays: 0, size: 10 },
  "sid-of-nobody-2": { idleDays: 20, size: 10 },
};
export const SECRET_VALUE = "a-value-nobody-may-see";

export const userOf = (session: object) => (session as { user?: string }).user;

/** Saves the sessions of {@link seeded}, and a session that has ended. */
export async function seed(url: string, options: StoreOptions = {}): Promise<void> {
  const start = Date.now();
  let now = start;
  const store = createStore(url, { user: userOf, now: () => now, ...options });
  const save = (sid: string, lifetime: number, data: object) =>
    store.set(sid, { cookie: { originalMaxAge: lifetime, path: "/" }, ...data } as never);
  try {
    for (const [sid, { user, idleDays, size }] of Object.entries(seeded)) {
      now = start - idleDays * DAY;
      await save(sid, 90 * DAY, { user, secret: SECRET_VALUE, filling: "x".repeat(size) });
    }
    now = start - 5 * HOUR;
    await save("sid-of-the-past", HOUR, { secret: SECRET_VALUE });
  } finally {
    await store.close();
  }
}

/** The sids that are still in a store. */
export async function sidsIn(url: string): Promise<string[]> {
  const store = createStore(url);
  try {
    return (await store.ids()).sort();
  } finally {
    await store.close();
  }
}
