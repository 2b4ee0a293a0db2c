import assert from "node:assert/strict";
import { type Interval, Register, type ValueWrite } from "./register.js";

/*
 * What several clients did at once to one session id, and whether a store that keeps the contract can have responded
 * so. Each creation gives the session another `life`. All other keys are registers: no two writes have the same value,
 * whoever writes. A save of a key over a value that its client has not seen is a conflict: its value is
 * kept, and reported.
 */

/** What a client did. A save is named by the life that it had loaded. */
export type Action =
  | { kind: "create"; life: string; values: Values }
  | { kind: "save"; life: string; client: string; writes: KeyWrite[]; reported: string[] | undefined }
  | { kind: "destroy" }
  | { kind: "end"; life: string }
  | { kind: "read"; life: string | null; values: Values };

type Values = Record<string, unknown>;

/** The change of one key: the value that the client had seen, and its own. */
export interface KeyWrite {
  readonly key: string;
  readonly seen: unknown;
  readonly value: unknown;
}

/** How a call ended: `gone` if its session was not written since it had been destroyed. */
export type Ending = "acknowledged" | "gone" | "failed";

interface Times {
  /** Numbers in the order in which calls and responses came. */
  readonly called: number;
  /** When the caller had a response, whatever it was. */
  readonly responded: number;
  /** Until when it may have taken effect: `Infinity` if the response was an error or a copy of it is under way. */
  readonly until: number;
  readonly ending: Ending;
  /** Whether something happened to one of its requests: then it may have taken place although it is `gone`. */
  readonly isFaulty: boolean;
  /** Whether a copy of a request was still under way after the response. */
  readonly isRepeated: boolean;
}

type Done<A extends Action = Action> = A & Times;

/** What became of a call besides its result. */
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

  /** Notes when something is called and when its response comes; `work` returns what it was. Never rejects. */
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

  /** @throws AssertionError for the first response that no store may give */
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

  /** What was created and acknowledged is there until somebody removes it. */
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
   * A copy of a removal does not remove what was created over its tombstone. It does if another removal's
   * tombstone had replaced it.
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
   * A copy of a creation is refused by every tombstone except the one that it replaces. A copy of
   * the removal that left that one may bring it back.
   */
  #mayComeTwice(created: Done): boolean {
    return (
      created.isRepeated && this.#of("destroy").some(end => end.isRepeated && end.called < created.responded)
    );
  }

  /** A save is refused only if somebody may have removed the session. */
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

  /** What may have removed the session. */
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

/** A save over a value that its client had not seen is reported, and no other is. */
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
 * The writes of one key. A save that failed may have taken place, until the same client has saved the session
 * again: that changes the version, on which the failed one depends.
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
