import { randomUUID } from "node:crypto";
import { SessionKeys } from "../core/keys.js";
import { type AbstractStore, isTombstone, type StoreOptions, UNREADABLE } from "../index.js";
import { Clock } from "./clock.js";
import { newOperation, primitivesOf } from "./primitives.js";

/** What the suite has to know of the backend under test. */
export interface BackendUnderTest<S extends AbstractStore = AbstractStore> {
  /** Creates a store of the backend under test. The options are the shared ones and must be passed on unchanged. */
  createStore(options: StoreOptions): S | Promise<S>;
  capabilities?: Capabilities | undefined;
  /** Puts `text`, which is not a record, where the store keeps the record with this key. */
  putRaw?(store: S, key: string, text: string): void | Promise<void>;
  /** Lets every later operation of this store's backend fail, as in an outage. Other stores must go on. */
  breakBackend?(store: S): void | Promise<void>;
}

/** What differs between backends. A test that does not apply is left out, and the suite's name says so. */
interface Capabilities {
  /** Whether stores that are created with the same prefix see the same sessions. @defaultValue `true` */
  shared?: boolean | undefined;
  /** Whether the store supports the option `user`. @defaultValue `false` */
  users?: boolean | undefined;
  /** The limit on one record that `ERR_SESSION_TOO_LARGE` names, in bytes. @defaultValue none */
  maxSessionBytes?: number | undefined;
}

/** What one test has of the backend: a prefix and a clock of its own, and the stores that it has opened. */
export class Harness {
  readonly clock = new Clock();
  readonly prefix = `conformance-${randomUUID()}:`;
  readonly backend: BackendUnderTest;
  readonly #opened = new Set<AbstractStore>();

  constructor(backend: BackendUnderTest) {
    this.backend = backend;
  }

  /** A store with the prefix and the clock of this test. Expiry is exact, because `touchAfter` is 0 by default. */
  readonly open = async (options: StoreOptions = {}): Promise<AbstractStore> => {
    const store = await this.backend.createStore({
      prefix: this.prefix,
      now: this.clock.now,
      touchAfter: 0,
      ...options,
    });
    this.#opened.add(store);
    return store;
  };

  /** Puts `text`, which is not a record, where the store keeps the session. */
  readonly putRaw = async (store: AbstractStore, sid: string, text: string): Promise<void> => {
    await this.backend.putRaw?.(store, new SessionKeys(store.prefix).keyOf(sid), text);
  };

  /** From now on the backend of this store fails. */
  readonly breakBackend = async (store: AbstractStore): Promise<void> => {
    await this.backend.breakBackend?.(store);
  };

  /** Closes the stores and destroys the sessions below this test's prefix. The test may have broken its own stores. */
  async tidyUp(): Promise<void> {
    const prefixes = new Set<string>();
    for (const store of this.#opened) {
      // Sessions of another prefix than this test's may be somebody's.
      if (store.prefix.startsWith(this.prefix)) prefixes.add(store.prefix);
      await store.close();
    }
    for (const prefix of prefixes) {
      // With the real clock, so that the tombstones stay no longer than those of an application.
      const store = await this.backend.createStore({ prefix });
      await store.clear();
      if (this.clock.now() > Date.now()) await endTombstones(store);
      await store.close();
    }
  }
}

const SOON_MS = 60_000;

/** Lets the backend delete the tombstones of a test that has moved its clock: they would stay for days. */
async function endTombstones(store: AbstractStore): Promise<void> {
  const primitives = primitivesOf(store);
  const { keyPrefix } = new SessionKeys(store.prefix);
  for await (const page of primitives._scan(keyPrefix, newOperation())) {
    const removals = page.map(async ({ key, record }) => {
      if (record === UNREADABLE || !isTombstone(record)) return;
      const id = `~${randomUUID().slice(0, 8)}`;
      const removal = { id, tombstone: { ...record, version: id }, deleteAt: Date.now() + SOON_MS };
      await primitives._remove(key, removal, newOperation());
    });
    await Promise.all(removals);
  }
}

/** Defines a test. Its name is a sentence about what a store does. */
export type DefineTest = (name: string, body: (harness: Harness) => Promise<void>) => void;

/** The tests of one topic. */
export type Topic = (test: DefineTest) => void;

export async function runTest(
  backend: BackendUnderTest,
  body: (harness: Harness) => Promise<void>,
): Promise<void> {
  const harness = new Harness(backend);
  try {
    await body(harness);
  } catch (error) {
    // The first failure is what the test is about.
    await harness.tidyUp().catch(() => {});
    throw error;
  }
  await harness.tidyUp();
}
