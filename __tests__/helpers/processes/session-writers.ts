import { type ChildProcess, spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { SessionData } from "express-session";
import type { FileStore } from "../../../lib/file/store.js";

/** The value of a session that was destroyed, or never existed. */
const NONE = 0;

const NEW_SESSION: SessionData = { cookie: { originalMaxAge: null } };

/** The responses to the writes of several writers, and therefore what must be stored. */
export class Ledger {
  /** The number of acknowledged writes. */
  acknowledged = 0;
  readonly #growth = new EventEmitter();
  /** By place: the last acknowledged value, and the values of later writes that may or may not have happened. */
  readonly #places = new Map<string, { value: number; attempts: number[] }>();

  attempt(place: string, value: number): void {
    this.#entry(place).attempts.push(value);
  }

  acknowledge(place: string, value: number): void {
    this.#places.set(place, { value, attempts: [] });
    this.acknowledged += 1;
    this.#growth.emit(String(this.acknowledged));
  }

  /** Waits for `count` more acknowledged writes. */
  async grown(count: number): Promise<void> {
    await once(this.#growth, String(this.acknowledged + count));
  }

  /** Checks the content of the store. Returns every missing value, and every value that nobody wrote. */
  async differences(store: FileStore): Promise<string[]> {
    const differences: string[] = [];
    for (const [place, { value, attempts }] of this.#places) {
      const found = await valueAt(store, place);
      if (found === value || attempts.includes(found))
        this.#places.set(place, { value: found, attempts: [] });
      else differences.push(`${place} has ${found}, acknowledged was ${value}, then attempted ${attempts}`);
    }
    return differences;
  }

  #entry(place: string) {
    const entry = this.#places.get(place) ?? { value: NONE, attempts: [] };
    this.#places.set(place, entry);
    return entry;
  }
}

async function valueAt(store: FileStore, place: string): Promise<number> {
  const [sid = "", field] = place.split("/");
  const session = (await store.get(sid)) as Record<string, unknown> | null;
  if (field !== undefined) return (session?.[field] as number | undefined) ?? NONE;
  if (session === null) return NONE;
  const { value, filling } = session;
  return filling === String(value).repeat(2 ** (Number(value) % 11)) ? Number(value) : Number.NaN;
}

/** Creates the session that several writers change. */
export async function prepare(store: FileStore): Promise<void> {
  await store.set("shared", NEW_SESSION);
}

let started = 0;

/** A process that writes sessions to a file until it is killed: session-writer.cjs. */
export class Writer {
  /** Settles when the process has begun to write. */
  readonly ready: Promise<unknown>;
  readonly errors: string[] = [];
  readonly #process: ChildProcess;
  readonly #told: Promise<unknown>;
  readonly #ended: Promise<unknown>;

  constructor(path: string, name: string, ledger: Ledger) {
    started += 1;
    this.#process = spawn(
      process.execPath,
      [join(__dirname, "session-writer.cjs"), path, name, `${started}`],
      {
        stdio: ["pipe", "pipe", "pipe"],
      },
    );
    const lines = createInterface({ input: this.#process.stdout as NodeJS.ReadableStream });
    this.ready = once(lines, "line");
    this.#told = once(lines, "close");
    this.#ended = once(this.#process, "close");
    lines.on("line", line => {
      const [kind, place = "", value] = line.split(" ");
      if (kind === ">") ledger.attempt(place, Number(value));
      else if (kind === "<") ledger.acknowledge(place, Number(value));
      else if (kind === "!") this.errors.push(line);
    });
    this.#process.stderr?.setEncoding("utf8").on("data", text => this.errors.push(text));
  }

  /** Ends the process like a crash. Afterwards, the ledger contains everything that it printed. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await Promise.all([this.#told, this.#ended]);
  }

  /** Lets the process finish its current write. */
  async stop(): Promise<void> {
    this.#process.stdin?.end();
    await Promise.all([this.#told, this.#ended]);
  }
}
