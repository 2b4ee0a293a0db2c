import { randomUUID } from "node:crypto";
import { DeleteTableCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { plain, requestSession, type TestSession } from "../../../lib/conformance/sessions.js";
import { digest } from "../../../lib/core/hashed-ids.js";
import { DynamoDBStore } from "../../../lib/dynamodb/store.js";
import type { ConflictEvent, StoreOptions } from "../../../lib/index.js";
import { FaultyDynamoDB, faultNames } from "../faults/faulty-dynamodb.js";
import { EventLoop } from "../measures/event-loop.js";
import { figure } from "../measures/figures.js";
import { below, seeded } from "../random.js";

const FAULT_RATE = 0.15;
const timeoutMs = 1000;
/** Late responses arrive after every caller has given up. */
const LATE_MS = 1500;
const MARGIN_MS = 200;
const REQUESTS_AT_ONCE = 32;
const SESSIONS = 30;
const FIELDS = ["a", "b", "c", "d"];
/** Sessions in a separate store, which are listed and cleared. */
const LISTED = 120;

const outage = /^ERR_STORE_(UNAVAILABLE|TIMEOUT)$/;

/**
 * The possible values of a stored field: the last acknowledged one, and those that were sent later without
 * acknowledgment.
 */
class Field {
  busy = false;
  #acknowledged = 0;
  #sent: number[] = [];

  send(value: number): void {
    this.#sent.push(value);
  }

  acknowledge(value: number): void {
    this.#acknowledged = value;
    this.#sent = [];
  }

  allows(value: number): boolean {
    return value === this.#acknowledged || this.#sent.includes(value);
  }
}

class Entry {
  readonly sid = randomUUID();
  readonly fields = new Map(FIELDS.map(name => [name, new Field()]));
  state: "live" | "ending" | "unsure" | "ended" = "live";
}

/** The store on an engine behind a faulty proxy: requests of many sessions, and a model of their responses. */
class Stress {
  readonly wrongs: string[] = [];
  readonly counts = { calls: 0, failed: 0, saved: 0, ended: 0 };
  slowestMs = 0;
  #store!: DynamoDBStore;
  readonly #random: () => number;
  readonly #live: Entry[] = [];
  readonly #past: Entry[] = [];
  #value = 0;

  constructor(store: DynamoDBStore, random: () => number) {
    this.#random = random;
    this.use(store);
  }

  use(store: DynamoDBStore): void {
    this.#store = store;
    store.on("conflict", ({ reason, sidHash }: ConflictEvent) => {
      const isLive = this.#live.some(({ sid }) => digest(sid) === sidHash);
      if (reason === "gone" && isLive) this.wrongs.push("a live session was taken for gone");
    });
  }

  /** Serves `requests` requests, many in parallel. */
  async serve(requests: number): Promise<void> {
    let left = requests;
    const lane = async () => {
      while (left > 0) {
        left -= 1;
        await this.#request();
      }
    };
    await Promise.all(Array.from({ length: REQUESTS_AT_ONCE }, lane));
  }

  /** Checks that the model allows what is stored. */
  async check(): Promise<void> {
    for (const { sid, state, fields } of [...this.#live, ...this.#past]) {
      const session = (await this.#store.get(sid)) as TestSession | null;
      if (session === null && state === "live") this.wrongs.push("a session is gone");
      if (session !== null && state === "ended") this.wrongs.push("a session is back");
      if (session === null) continue;
      for (const [name, field] of fields) {
        if (!field.allows(Number(session[name] ?? 0))) this.wrongs.push(`a change of ${name} is lost`);
      }
    }
  }

  async #request(): Promise<void> {
    if (this.#live.length < SESSIONS) return this.#begin();
    const entry = this.#live[below(this.#live.length, this.#random)] as Entry;
    const chance = this.#random();
    if (chance < 0.04) return this.#end(entry);
    if (chance < 0.1) return this.#lookBack();
    if (chance < 0.3) return this.#touch(entry);
    return this.#change(entry);
  }

  /** Calls the store. Returns `undefined` if the call fails, which is allowed. */
  async #call<T>(work: () => Promise<T>): Promise<{ result: T } | undefined> {
    const start = performance.now();
    this.counts.calls += 1;
    try {
      return { result: await work() };
    } catch (error) {
      this.counts.failed += 1;
      const { name, code } = error as { name: string; code: string };
      if (name !== "StoreError" || !outage.test(code)) this.wrongs.push(`${name} ${code}: ${error}`);
      return undefined;
    } finally {
      this.slowestMs = Math.max(this.slowestMs, performance.now() - start);
    }
  }

  async #begin(): Promise<void> {
    const entry = new Entry();
    // A client whose sign-in failed gets no cookie, so nobody has that session.
    if (await this.#call(() => this.#store.set(entry.sid, plain()))) this.#live.push(entry);
  }

  async #load({ sid, state }: Entry) {
    const answer = await this.#call(() => this.#store.get(sid));
    if (answer === undefined) return undefined;
    return { session: answer.result && requestSession(this.#store, sid, answer.result), state };
  }

  async #change(entry: Entry): Promise<void> {
    const free = FIELDS.filter(name => entry.fields.get(name)?.busy === false);
    const name = free[below(free.length, this.#random)];
    if (name === undefined) return this.#touch(entry);
    const field = entry.fields.get(name) as Field;
    field.busy = true;
    const loaded = await this.#load(entry);
    if (loaded?.session === null && entry.state === "live") this.wrongs.push("a live session was not found");
    if (loaded?.session) {
      const { session } = loaded;
      // A request may save more than once, also after an error.
      for (let saves = 1 + below(2, this.#random); saves > 0; saves--) {
        this.#value += 1;
        const value = this.#value;
        session[name] = value;
        field.send(value);
        if (!(await this.#call(() => this.#store.set(entry.sid, session)))) continue;
        field.acknowledge(value);
        this.counts.saved += 1;
      }
    }
    field.busy = false;
  }

  async #touch(entry: Entry): Promise<void> {
    const loaded = await this.#load(entry);
    if (!loaded?.session) return;
    loaded.session.cookie.expires = new Date(Date.now() + 3_600_000);
    await this.#call(() => this.#store.touch(entry.sid, loaded.session as TestSession));
  }

  async #end(entry: Entry): Promise<void> {
    this.#live.splice(this.#live.indexOf(entry), 1);
    this.#past.push(entry);
    entry.state = "ending";
    const done = await this.#call(() => this.#store.destroy(entry.sid));
    entry.state = done ? "ended" : "unsure";
    if (done) this.counts.ended += 1;
  }

  async #lookBack(): Promise<void> {
    const entry = this.#past[below(this.#past.length, this.#random)];
    if (entry === undefined) return;
    const loaded = await this.#load(entry);
    if (loaded?.session && loaded.state === "ended") this.wrongs.push("a session that had ended was found");
  }
}

interface Scale {
  name: string;
  endpoint: string;
  requests: number;
  listings: number;
}

export function describeDynamoDBStress({ name, endpoint, requests, listings }: Scale): void {
  describe(`DynamoDB that fails now and then (${name})`, () => {
    const random = seeded(4);
    const credentials = { accessKeyId: "local", secretAccessKey: "local" };
    const clientAt = (endpoint: string) => new DynamoDBClient({ endpoint, region: "us-east-1", credentials });
    const tableName = `test-${randomUUID()}`;
    let direct: DynamoDBClient;
    let client: DynamoDBClient;
    let proxy: FaultyDynamoDB;
    let stores: DynamoDBStore[];
    let stress: Stress;

    beforeAll(async () => {
      direct = clientAt(endpoint);
      const creator = new DynamoDBStore({ client: direct, tableName });
      await creator.createTable();
      proxy = new FaultyDynamoDB(endpoint, LATE_MS, random);
      client = clientAt(await proxy.listen());
      stores = [];
      stress = new Stress(open(client, { timeoutMs }), random);
    });

    function open(over: DynamoDBClient, options: StoreOptions): DynamoDBStore {
      const store = new DynamoDBStore({ client: over, tableName, touchAfter: 0, ...options });
      stores.push(store);
      return store;
    }

    afterAll(async () => {
      await Promise.all(stores.map(store => store.close()));
      client.destroy();
      proxy.close();
      await direct.send(new DeleteTableCommand({ TableName: tableName }));
      direct.destroy();
    });

    it(
      `serves ${requests} requests: each call ends in time, with its result or the code of an outage`,
      async () => {
        proxy.rate = FAULT_RATE;
        const eventLoop = new EventLoop();
        await stress.serve(requests);
        eventLoop.stop();
        expect(stress.wrongs).toEqual([]);
        expect(stress.slowestMs).toBeLessThan(timeoutMs + eventLoop.heldUpMs + MARGIN_MS);
        const { calls, failed, saved, ended } = stress.counts;
        expect(failed).toBeGreaterThan(calls / 100);
        expect(ended).toBeGreaterThan(0);
        figure(`${name}: ${calls} calls, ${failed} errors, ${saved} changes and ${ended} ends acknowledged`);
        figure(
          `${name}: slowest call ${Math.round(stress.slowestMs)} ms with a time limit of ${timeoutMs} ms`,
        );
      },
      30_000 + requests * 20,
    );

    it(
      "lists every session and no other, and clears all, if it says so",
      async () => {
        const sids = Array.from({ length: LISTED }, (_, index) => `sid-${index}`);
        const prefix = "listed:";
        const store = open(client, { prefix, timeoutMs });
        const undisturbed = open(direct, { prefix, timeoutMs: 20_000 });
        const successes = { found: 0, cleared: 0 };
        for (let listing = 0; listing < listings; listing++) {
          await Promise.all(sids.map(sid => undisturbed.set(sid, plain())));
          const found = await outcome(store.ids());
          if (found !== undefined) {
            expect(found.sort()).toEqual([...sids].sort());
            successes.found += 1;
          }
          const cleared = await outcome(store.clear().then(() => true));
          await proxy.drained();
          if (cleared === undefined) continue;
          expect(await undisturbed.length()).toBe(0);
          successes.cleared += 1;
        }
        figure(
          `${name}: of ${listings} each ${successes.found} listings and ${successes.cleared} clears done`,
        );
        expect(successes.found).toBeGreaterThan(0);
        expect(successes.cleared).toBeGreaterThan(0);
      },
      30_000 + listings * 3000,
    );

    it("has injected every fault", () => {
      figure(`${name}: ${JSON.stringify(proxy.injected)}`);
      for (const fault of faultNames) expect(proxy.injected[fault]).toBeGreaterThan(0);
    });

    it("has lost no acknowledged change and brought back no session when that is over, and works without an error", async () => {
      proxy.rate = 0;
      await proxy.drained();
      stress.use(open(client, {}));
      await stress.check();
      expect(stress.wrongs).toEqual([]);
      const { failed } = stress.counts;
      await stress.serve(500);
      await stress.check();
      expect(stress.wrongs).toEqual([]);
      expect(stress.counts.failed).toBe(failed);
    });
  });
}

/** Returns the result of a listing, or `undefined` if it fails, which is allowed. */
async function outcome<T>(listing: Promise<T>): Promise<T | undefined> {
  return listing.catch(error => {
    expect(error.code).toMatch(outage);
    return undefined;
  });
}
