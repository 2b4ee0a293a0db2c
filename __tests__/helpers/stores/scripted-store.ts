import {
  AbstractStore,
  type ActivityUpdate,
  type Awaitable,
  conditionHolds,
  type Found,
  type Operation,
  type RecordWrite,
  type Removal,
  type ScannedRecord,
  type StoreOptions,
  tombstoneOver,
  touchHolds,
  UNREADABLE,
  type WriteResult,
} from "../../../lib/index.js";

export type Primitive = "read" | "write" | "touch" | "remove" | "scan";

type Script = Partial<Pick<ScriptedStore, "_read" | "_write" | "_touch" | "_remove" | "_scan">>;

/** A backend in memory under the control of a test: each primitive can be replaced, and its calls are recorded. */
export class ScriptedStore extends AbstractStore {
  static override readonly defaultTouchAfter = 0;

  readonly records: Map<string, Found>;
  readonly calls: Primitive[] = [];
  /** The written records, without touches and tombstones. */
  readonly writes: RecordWrite[] = [];
  readonly touches: ActivityUpdate[] = [];
  script: Script = {};

  /** @param records - those of another store, which then represents a process on the same backend */
  constructor(options: StoreOptions = {}, records = new Map<string, Found>()) {
    super(options);
    this.records = records;
  }

  reportTwice(): void {
    for (const reason of ["one", "other"]) this._reportError(new Error(reason));
  }

  /** Returns the calls since the last time. */
  takeCalls(): Primitive[] {
    return this.calls.splice(0);
  }

  override _read(key: string, operation: Operation): Awaitable<Found | undefined> {
    this.calls.push("read");
    return this.script._read ? this.script._read(key, operation) : this.records.get(key);
  }

  override _write(key: string, write: RecordWrite, operation: Operation): Awaitable<WriteResult> {
    this.calls.push("write");
    this.writes.push(write);
    return this.script._write ? this.script._write(key, write, operation) : this.write(key, write);
  }

  override _touch(key: string, touch: ActivityUpdate, operation: Operation): Awaitable<WriteResult> {
    this.calls.push("touch");
    this.touches.push(touch);
    return this.script._touch ? this.script._touch(key, touch, operation) : this.touchRecord(key, touch);
  }

  override _remove(key: string, removal: Removal, operation: Operation): Awaitable<void> {
    this.calls.push("remove");
    if (this.script._remove) return this.script._remove(key, removal, operation);
    this.remove(key, removal);
  }

  override async *_scan(start: string, operation: Operation): AsyncGenerator<ScannedRecord[]> {
    this.calls.push("scan");
    if (this.script._scan) yield* this.script._scan(start, operation);
    else
      yield [...this.records]
        .filter(([key]) => key.startsWith(start))
        .map(([key, found]) => ({ key, ...found }));
  }

  write(key: string, { record, condition }: RecordWrite): WriteResult {
    const current = this.records.get(key);
    if (!conditionHolds(current, condition)) return { written: false, current };
    this.records.set(key, { record });
    return { written: true };
  }

  touchRecord(key: string, touch: ActivityUpdate): WriteResult {
    const current = this.records.get(key);
    if (!touchHolds(current, touch)) return { written: false, current };
    this.records.set(key, { record: { ...current.record, activeAt: touch.activeAt } });
    return { written: true };
  }

  remove(key: string, { tombstone, id }: Removal): void {
    const found = this.records.get(key);
    const record = found?.record;
    if (record !== undefined && record !== UNREADABLE && record.version.includes(id)) return;
    this.records.set(key, { record: tombstoneOver(found, tombstone) });
  }
}

/** Returns a promise that never settles. */
export function never(): Promise<never> {
  return new Promise(() => {});
}
