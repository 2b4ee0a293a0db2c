import { randomUUID } from "node:crypto";
import { KeySpace } from "../core/keys.js";
import type { AbstractStore, StoreOptions } from "../index.js";
import { Clock } from "./clock.js";

/** What the suite has to know of the backend under test. */
export interface Backend<S extends AbstractStore = AbstractStore> {
  /** Makes a store of the backend under test. The options are the shared ones and must be passed on unchanged. */
  createStore(options: StoreOptions): S | Promise<S>;
  capabilities?: Capabilities | undefined;
  /** Puts `text`, which is no record, where the store keeps the record with this key. */
  plant?(store: S, key: string, text: string): void | Promise<void>;
  /** Lets every later operation of this store's backend fail, as in an outage. The store is closed afterwards. */
  breakBackend?(store: S): void | Promise<void>;
}

/** What differs between backends. A test that the backend cannot take is left out, and the suite's name says so. */
interface Capabilities {
  /** Whether stores that are made with the same prefix see the same sessions. @defaultValue `true` */
  shared?: boolean | undefined;
  /** The limit on one record that `ERR_SESSION_TOO_LARGE` names, in bytes. @defaultValue none */
  maxSessionBytes?: number | undefined;
}

/** One test's place on the backend: a prefix and a clock of its own, and the stores it made. */
export class Bench {
  readonly clock = new Clock();
  readonly prefix = `conformance-${randomUUID()}:`;
  readonly backend: Backend;
  readonly #opened = new Set<AbstractStore>();
  readonly #broken = new Set<AbstractStore>();

  constructor(backend: Backend) {
    this.backend = backend;
  }

  /** A store on this test's prefix and clock. Without `touchAfter`, unless a test asks for it: expiry is exact then. */
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

  /** Puts `text`, which is no record, where the store keeps the session. */
  readonly plant = async (store: AbstractStore, sid: string, text: string): Promise<void> => {
    await this.backend.plant?.(store, new KeySpace(store.prefix).keyOf(sid), text);
  };

  /** From now on the backend of this store fails. */
  readonly breakBackend = async (store: AbstractStore): Promise<void> => {
    await this.backend.breakBackend?.(store);
    this.#broken.add(store);
  };

  async tidyUp(): Promise<void> {
    for (const store of this.#opened) {
      // Sessions of another prefix than this test's may be somebody's.
      const own = store.prefix.startsWith(this.prefix);
      if (own && !this.#broken.has(store)) await store.clear().catch(ignoreClosed);
      await store.close();
    }
  }
}

function ignoreClosed(error: { code?: unknown }): void {
  if (error.code !== "ERR_STORE_CLOSED") throw error;
}

/** Defines a test; its name says what a store does. */
export type DefineTest = (name: string, body: (bench: Bench) => Promise<void>) => void;

/** The tests of one topic. */
export type Topic = (test: DefineTest) => void;

export async function runTest(backend: Backend, body: (bench: Bench) => Promise<void>): Promise<void> {
  const bench = new Bench(backend);
  try {
    await body(bench);
  } catch (error) {
    // What failed first is what the test is about.
    await bench.tidyUp().catch(() => {});
    throw error;
  }
  await bench.tidyUp();
}
