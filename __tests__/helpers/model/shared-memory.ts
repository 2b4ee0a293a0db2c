import {
  AbstractStore,
  type ActivityUpdate,
  type Found,
  type RecordWrite,
  type Removal,
  type ScannedRecord,
  type StoreOptions,
  UNREADABLE,
  type WriteResult,
} from "../../../lib/index.js";
import { MemoryStore } from "../../../lib/memory.js";

interface Primitives {
  _read(key: string): Found | undefined;
  _write(key: string, write: RecordWrite): WriteResult;
  _touch(key: string, touch: ActivityUpdate): WriteResult;
  _remove(key: string, removal: Removal): void;
  _scan(): AsyncIterable<ScannedRecord[]>;
}

/** The records of a memory store, shared by stores that stand for several processes. */
export class SharedMemory {
  readonly primitives: Primitives;
  readonly #store: MemoryStore;
  #now = Date.now;

  constructor() {
    this.#store = new MemoryStore({ now: () => this.#now() });
    this.primitives = this.#store as unknown as Primitives;
  }

  /** Sweeps by the clock of the store that calls it. */
  cleanup(now: () => number): Promise<number> {
    this.#now = now;
    return this.#store.cleanup();
  }

  close(): Promise<void> {
    return this.#store.close();
  }
}

/** One of several stores on the same memory, with its own clock. It is asynchronous, like stores on a network. */
export class SharedMemoryStore extends AbstractStore {
  readonly #memory: SharedMemory;

  constructor(options: StoreOptions, memory: SharedMemory) {
    super(options);
    this.#memory = memory;
  }

  cleanup(): Promise<number> {
    return this.#memory.cleanup(() => this._now());
  }

  override async _read(key: string): Promise<Found | undefined> {
    return this.#memory.primitives._read(key);
  }

  override async _write(key: string, write: RecordWrite): Promise<WriteResult> {
    return this.#memory.primitives._write(key, write);
  }

  override async _touch(key: string, touch: ActivityUpdate): Promise<WriteResult> {
    return this.#memory.primitives._touch(key, touch);
  }

  /** Unlike the memory store, this one may receive a delete twice. */
  override async _remove(key: string, removal: Removal): Promise<void> {
    const record = this.#memory.primitives._read(key)?.record;
    const isLater = record !== undefined && record !== UNREADABLE && record.version.includes(removal.id);
    if (!isLater) this.#memory.primitives._remove(key, removal);
  }

  override async *_scan(): AsyncGenerator<ScannedRecord[]> {
    yield* this.#memory.primitives._scan();
  }
}
