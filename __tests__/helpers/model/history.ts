import assert from "node:assert/strict";
import { type Interval, Register, type ValueWrite } from "./register.js";

/*
 * The calls of several parallel clients to one session id, and whether a correct store could have responded like this.
 * Each creation gives the session another `life`. All other keys are registers, in which no two writes have the same
 * value. A save of a key over a value that its client has not seen is a conflict. It keeps its value, and is reported.
 */

/** A client's call. A save has the life that its client had loaded. */
export type Action =
  | { kind: "create"; life: string; values: Values }
  | { kind: "save"; life: string; client: string; writes: KeyWrite[]; reported: string[] | undefined }
  | { kind: "destroy" }
  | { kind: "end"; life: string }
  | { kind: "read"; life: string | null; values: Values };

type Values = Record<string, unknown>;

/** The change of one key: the value that the client had seen, and the client's new value. */
export interface KeyWrite {
  readonly key: string;
  readonly seen: unknown;
  readonly value: unknown;
}

/** How a call ended. `gone`: its session was destroyed and not written since. */
export type Ending = "acknowledged" | "gone" | "failed";

interface Times {
  /** The times are numbers in the order of calls and responses. */
  readonly called: number;
  /** When the caller had a response, or an error. */
  readonly responded: number;
  /**
   * The latest time at which the call may take effect. `Infinity` if the response was an error or a copy is in flight.
   */
  readonly until: number;
  readonly ending: Ending;
  /** Whether one of its requests had a fault. Then the call may have taken place although it is `gone`. */
  readonly isFaulty: boolean;
  /** Whether a copy of a request was still in flight after the response. */
  readonly isRepeated: boolean;
}

type Done<A extends Action = Action> = A & Times;

/** The outcome of a call besides its result. */
export interface Noted<A extends Action> {
  readonly action: A;
  readonly ending: Ending;
  readonly isFaulty?: boolean;
  readonly isRepeated?: boolean;
}

export class History {
  readonly sid: string;
  readonly #done: Done[] = [];
  #order = 0;

  constructor(sid: string) {
    this.sid = sid;
  }

  /** Records when a call begins and when its response arrives. `work` returns the call. Never rejects. */
  async note<A extends Action>(work: () => Promise<Noted<A>>): Promise<Noted<A>> {
    this.#order += 1;
    const called = this.#order;
    const noted = await work();
    this.#order += 1;
    const { action, ending, isFaulty = false, isRepeated = false } = noted;
    const until = ending === "failed" ? Number.POSITIVE_INFINITY : this.#order;
    this.#done.push({ ...action, called, responded: this.#order, until, ending, isFaulty, isRepeated });
    return noted;
  }

  /** @throws AssertionError for the first response that no correct store may give */
  check(): void {
    try {
      for (const read of this.#of("read")) {
        if (read.life === null) this.#checkAbsent(read);
        else this.#checkPresent(read, read.life);
      }
      for (const save of this.#of("save")) this.#checkEnding(save);
      for (const { life } of this.#of("create")) this.#checkRegisters(life);
    } catch (error) {
      const history = this.#done.map(action => JSON.stringify(action)).join("\n");
      throw new assert.AssertionError({ message: `${(error as Error).message}\n${history}` });
    }
  }

  /** A session that was created and acknowledged is there until a client destroys it. */
  #checkAbsent(read: Done): void {
    for (const created of this.#of("create")) {
      if (created.ending !== "acknowledged" || created.responded > read.called) continue;
      const isRemoved = this.#ends(created.life).some(
        end => end.called < read.responded && (end.until > created.called || this.#mayBeLate(end, created)),
      );
      assert.ok(isRemoved, `the session ${created.life} was lost`);
    }
  }

  /**
   * A copy of a delete does not delete a session that was created over its own tombstone. It does if the tombstone of
   * another delete had replaced its own.
   */
  #mayBeLate(end: Done, created: Done): boolean {
    const others = this.#ends().filter(other => other !== end && other.called < created.responded);
    return end.isRepeated && end.kind === "destroy" && others.length > 0;
  }

  #checkPresent(read: Done, life: string): void {
    const created = this.#of("create").find(create => create.life === life);
    assert.ok(created && created.called < read.responded, `nobody had created the session ${life}`);
    assert.ok(mayHaveTakenPlace(created), `the session ${life} was reported as gone`);
    const isEnded = this.#ends(life).some(
      end => end.ending === "acknowledged" && end.called > created.responded && end.responded < read.called,
    );
    assert.ok(!isEnded || this.#mayComeTwice(created), `the session ${life} had been removed`);
  }

  /**
   * Every tombstone rejects a copy of a creation, except the tombstone that the creation replaces. A copy of the delete
   * that left this tombstone may bring it back.
   */
  #mayComeTwice(created: Done): boolean {
    return (
      created.isRepeated && this.#of("destroy").some(end => end.isRepeated && end.called < created.responded)
    );
  }

  /** A save is rejected only if a client may have destroyed the session. */
  #checkEnding(save: Done<Action & { kind: "save" }>): void {
    if (save.ending !== "gone") return;
    const isRemoved = this.#ends(save.life).some(({ called }) => called < save.responded);
    assert.ok(
      isRemoved,
      `a save of ${save.client} was reported as gone, although nobody had removed the session`,
    );
  }

  #checkRegisters(life: string): void {
    const created = this.#of("create").find(create => create.life === life) as Done<
      Action & { kind: "create" }
    >;
    const saves = this.#of("save").filter(save => save.life === life && mayHaveTakenPlace(save));
    const reads = this.#of("read").filter(read => read.life === life);
    const keys = new Set([
      ...Object.keys(created.values),
      ...reads.flatMap(({ values }) => Object.keys(values)),
    ]);
    for (const key of keys) {
      const register = new Register();
      const isSure = created.ending === "acknowledged";
      const first = { value: created.values[key], start: created.called, end: created.until, isSure };
      const writes = writesOf(key, saves);
      for (const write of [first, ...writes]) register.write(write);
      for (const { called, responded, values } of reads) {
        const wrong = register.read(values[key], { start: called, end: responded });
        assert.equal(wrong, undefined, `${life}, ${key}: ${wrong}`);
      }
      const contradiction = register.contradiction();
      assert.equal(contradiction, undefined, `${life}, ${key}: ${contradiction}`);
      checkReports(key, first, writes, reads);
    }
  }

  /** The calls that may have destroyed the session. */
  #ends(life?: string): Done<Action & { kind: "destroy" | "end" }>[] {
    return [
      ...this.#of("destroy"),
      ...this.#of("end").filter(end => life === undefined || end.life === life),
    ];
  }

  #of<K extends Action["kind"]>(kind: K): Done<Action & { kind: K }>[] {
    return this.#done.filter((done): done is Done<Action & { kind: K }> => done.kind === kind);
  }
}

function mayHaveTakenPlace({ ending, isFaulty }: Times): boolean {
  return ending !== "gone" || isFaulty;
}

/** A save over a value that its client had not seen is reported, and no other save is. */
function checkReports(
  key: string,
  first: ValueWrite,
  writes: ClientWrite[],
  reads: Done<Action & { kind: "read" }>[],
): void {
  for (const write of writes) {
    const { reported, isUncertain, client, seen } = write;
    if (reported === undefined || isUncertain) continue;
    const isReported = reported.includes(key);
    const seenIn = [first, ...writes].filter(({ value }) => value === seen) as Interval[];
    for (const { values, called, responded } of reads) {
      if (values[key] === seen) seenIn.push({ start: called, end: responded });
    }
    const surelyThere = Math.min(...seenIn.map(({ end }) => end));
    const lastSeen = Math.max(...seenIn.map(({ start }) => start));
    const others = writes.filter(other => other !== write && other.value !== seen);
    const isOther = others.some(
      ({ start, end, isSure }) => isSure && start > surelyThere && end < write.start,
    );
    const mayBeOther = others.some(({ start, end }) => end > lastSeen && start < write.end);
    const name = `what ${client} wrote over ${JSON.stringify(seen)} as ${key}`;
    assert.ok(isReported || !isOther, `${name}, although it was another value by then, was not reported`);
    assert.ok(!isReported || mayBeOther, `${name} was reported, although nobody else wrote it`);
  }
}

interface ClientWrite extends ValueWrite {
  readonly client: string;
  readonly seen: unknown;
  readonly reported: string[] | undefined;
  /** Whether it took more than one save, so that reports may be missing. */
  readonly isUncertain: boolean;
}

/**
 * The writes of one key. A failed save may have taken place later, until the same client has saved the session again.
 * The new save changes the version on which the failed one depends.
 */
function writesOf(key: string, saves: Done<Action & { kind: "save" }>[]): ClientWrite[] {
  const writes = new Map<unknown, ClientWrite>();
  for (const save of saves.toSorted((one, other) => one.called - other.called)) {
    const { client, reported, called, until } = save;
    const written = save.writes.find(write => write.key === key);
    if (written === undefined) continue;
    const earlier = writes.get(written.value);
    const next = saves.find(
      other => other.client === client && other.called > called && other.ending === "acknowledged",
    );
    writes.set(written.value, {
      client,
      seen: written.seen,
      value: written.value,
      start: earlier?.start ?? called,
      end: Math.min(until, next?.responded ?? Number.POSITIVE_INFINITY),
      reported,
      isSure: save.ending === "acknowledged" || earlier?.isSure === true,
      isUncertain: earlier !== undefined || save.ending !== "acknowledged",
    });
  }
  return [...writes.values()];
}
