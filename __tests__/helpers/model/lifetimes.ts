import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { type RequestSession, requestSession } from "../../../lib/conformance/sessions.js";
import type { AbstractStore, StoreOptions } from "../../../lib/index.js";
import { below, seeded } from "../random.js";
import { newSession } from "./session-objects.js";

/*
 * Schedules of requests to one session from two hosts whose clocks differ. Some have slow responses, and some change
 * the session or its lifetime. The bounds are those of the contract, by the true time. A session is found until its
 * lifetime after its last acknowledged use, and not beyond that and `touchAfter`, however the clocks are set.
 */

type CreateStore = (options: StoreOptions) => AbstractStore;

const START = Date.UTC(2030, 0, 1);
const MAX_SKEW_MS = 30_000;
const LIFETIMES_MS = [100_000, 600_000, 3_600_000, 86_400_000];
/** In seconds, like the option. */
const TOUCH_AFTERS = [undefined, undefined, 0, 10, 300];
const REQUESTS = 12;

/** A request that has loaded the session. */
interface Request {
  readonly number: number;
  readonly host: number;
  readonly session: RequestSession;
  /** The lifetime of the session when it was loaded. */
  readonly loadedLifetime: number;
  /** When its response began, by the true time. */
  begunAt: number;
  /** Whether the renewed cookie has another expiry. If not, the store cannot see when the response began. */
  isRenewed: boolean;
}

interface ScheduledEvent {
  readonly at: number;
  readonly run: () => Promise<void>;
}

/** Runs schedules by their seeds, one after the other. Returns the first error. */
export async function findSchedule(
  createStore: CreateStore,
  firstSeed: number,
  count: number,
): Promise<Error | undefined> {
  for (let seed = firstSeed; seed < firstSeed + count; seed++) {
    try {
      await new Schedule(createStore, seed).run();
    } catch (error) {
      return error as Error;
    }
  }
  return undefined;
}

class Schedule {
  readonly #random: () => number;
  readonly #stores: AbstractStore[];
  readonly #ahead: number[];
  readonly #touchAfter: number | undefined;
  readonly #sid = randomUUID();
  readonly #queue: ScheduledEvent[] = [];
  readonly #log: string[] = [];
  #now = START;
  #lifetime: number;
  /** The earliest and the latest possible time of the last use. */
  #usedFrom = START;
  #usedTo = START;
  /** The fields that acknowledged saves wrote. */
  readonly #fields: Record<string, number> = {};
  #isOver = false;

  constructor(createStore: CreateStore, seed: number) {
    this.#note(`seed ${seed}`);
    this.#random = seeded(seed);
    this.#lifetime = this.#oneOf(LIFETIMES_MS);
    this.#touchAfter = this.#oneOf(TOUCH_AFTERS);
    this.#ahead = [0, this.#oneOf([0, 5, 50, -50, 1000, below(2 * MAX_SKEW_MS, this.#random) - MAX_SKEW_MS])];
    const options = { prefix: `${randomUUID()}:`, touchAfter: this.#touchAfter };
    this.#stores = this.#ahead.map(ahead => createStore({ ...options, now: () => this.#now + ahead }));
  }

  /** @throws AssertionError with the events that led to it */
  async run(): Promise<void> {
    try {
      const data = newSession({}, { does: "maxAge", ms: this.#lifetime }, this.#now, false);
      const session = requestSession(this.#store(0), this.#sid, data);
      await this.#store(0).set(this.#sid, session);
      this.#note(`lifetime ${this.#lifetime}, touchAfter ${this.#touchAfter}, clocks ${this.#ahead}`);
      this.#schedule(0, () => this.#begin(0));
      while (this.#queue.length > 0 && !this.#isOver) await this.#next();
      if (!this.#isOver) await this.#checkEnd();
    } catch (error) {
      const history = this.#log.join("\n");
      throw new assert.AssertionError({ message: `${(error as Error).message}\n${history}` });
    } finally {
      await this.#stores[0]?.clear();
      for (const store of this.#stores) await store.close();
    }
  }

  #schedule(delay: number, run: () => Promise<void>): void {
    this.#queue.push({ at: this.#now + Math.round(delay), run });
    this.#queue.sort((one, other) => one.at - other.at);
  }

  async #next(): Promise<void> {
    const { at, run } = this.#queue.shift() as ScheduledEvent;
    this.#now = at;
    await this.#check();
    await run();
    await this.#check();
  }

  /** A request arrives, and the next one is planned. */
  async #begin(number: number): Promise<void> {
    if (number < REQUESTS) {
      // Often within `touchAfter`, and sometimes just before the session ends.
      const gap = this.#oneOf([50, 5000, 0.03, 0.3, 0.9, 0.99]);
      this.#schedule(gap < 1 ? gap * this.#lifetime : gap, () => this.#begin(number + 1));
    }
    const host = below(2, this.#random);
    const data = await this.#store(host).get(this.#sid);
    if (data === null) return;
    const session = requestSession(this.#store(host), this.#sid, data);
    const request = { number, host, session, loadedLifetime: this.#lifetime, begunAt: 0, isRenewed: true };
    this.#note(`request ${number} on host ${host}`);
    this.#schedule(this.#oneOf([0, 0, 20, 0.1 * this.#lifetime]), async () => this.#respond(request));
  }

  /**
   * The response begins: express-session renews the cookie, with the lifetime that the application may have changed.
   */
  #respond(request: Request): void {
    const { session, host, number } = request;
    request.begunAt = this.#now;
    const changesLifetime = this.#random() < 0.15;
    const maxAge = changesLifetime ? this.#oneOf(LIFETIMES_MS) : (session.cookie.originalMaxAge as number);
    const loadedExpires = (session.cookie.expires as Date).getTime();
    session.cookie.expires = new Date(this.#now + (this.#ahead[host] ?? 0) + maxAge);
    request.isRenewed = session.cookie.expires.getTime() !== loadedExpires;
    session.cookie.originalMaxAge = maxAge;
    this.#note(`response ${number} begins, lifetime ${maxAge}`);
    const duration = this.#oneOf([0, 0, 0, 20, 0.05, 0.5, 1.5]);
    this.#schedule(duration < 2 ? duration * this.#lifetime : duration, () => this.#end(request));
  }

  /** The response ends: express-session saves a changed session, and touches an unchanged one. */
  async #end({ number, host, session, loadedLifetime, begunAt, isRenewed }: Request): Promise<void> {
    const isSave = this.#random() < 0.4;
    const [least] = this.#bounds();
    // The session may have ended. The clocks and the grace period decide whether it can still be saved.
    this.#isOver = this.#now >= least;
    if (this.#isOver) return;
    const maxAge = session.cookie.originalMaxAge as number;
    this.#note(`response ${number} ends, ${isSave ? "save" : "touch"}`);
    if (isSave) {
      session[`f${number}`] = number;
      this.#fields[`f${number}`] = number;
      await this.#store(host).set(this.#sid, session);
    } else await this.#store(host).touch(this.#sid, session);
    if (maxAge !== loadedLifetime) this.#lifetime = maxAge;
    this.#usedTo = Math.max(this.#usedTo, isRenewed ? begunAt : this.#now);
    // Whether a touch is skipped depends on the lifetime that the request had loaded.
    const isShorter = !isSave && maxAge === loadedLifetime && this.#lifetime < loadedLifetime;
    const uncovered = isShorter ? this.#touchAfterMs(loadedLifetime) - this.#touchAfterMs(this.#lifetime) : 0;
    this.#usedFrom = Math.max(this.#usedFrom, begunAt - uncovered);
  }

  /** The earliest and the latest possible end of the session. */
  #bounds(): [number, number] {
    const skew = Math.abs((this.#ahead[0] ?? 0) - (this.#ahead[1] ?? 0));
    const latest = this.#usedTo + this.#lifetime + this.#touchAfterMs(this.#lifetime);
    return [this.#usedFrom + this.#lifetime - skew, latest + skew];
  }

  async #check(): Promise<void> {
    if (this.#isOver) return;
    const [least, most] = this.#bounds();
    for (const [host, store] of this.#stores.entries()) {
      const session = (await store.get(this.#sid)) as RequestSession | null;
      if (session === null) {
        assert.ok(
          this.#now >= least,
          `at ${this.#time} host ${host} finds nothing, ${least - this.#now} ms early`,
        );
        continue;
      }
      assert.ok(
        this.#now < most,
        `at ${this.#time} host ${host} finds the session, ${this.#now - most} ms late`,
      );
      const { cookie, ...fields } = session;
      assert.equal(cookie.originalMaxAge, this.#lifetime, `at ${this.#time}: the lifetime`);
      assert.deepEqual(fields, this.#fields, `at ${this.#time}: the fields`);
      const shown = new Date(cookie.expires as Date).getTime();
      assert.ok(
        shown > this.#now + (this.#ahead[host] ?? 0),
        `at ${this.#time}: the cookie's expiry is past`,
      );
    }
  }

  /** Checks when the session ends if nobody uses it any more. */
  async #checkEnd(): Promise<void> {
    for (const time of this.#bounds().flatMap(bound => [bound - 1, bound])) {
      if (time <= this.#now) continue;
      this.#now = time;
      await this.#check();
    }
  }

  #store(host: number): AbstractStore {
    return this.#stores[host] as AbstractStore;
  }

  #touchAfterMs(lifetime: number): number {
    return this.#touchAfter === undefined
      ? Math.floor(Math.min(60_000, lifetime * 0.05))
      : this.#touchAfter * 1000;
  }

  #oneOf<T>(values: readonly T[]): T {
    return values[below(values.length, this.#random)] as T;
  }

  get #time(): number {
    return this.#now - START;
  }

  #note(event: string): void {
    this.#log.push(`${this.#time} ${event}`);
  }
}
