import fc from "fast-check";
import type { StoreOptions } from "../../../lib/index.js";
import { type Fault, faults, MapStore } from "../broken-stores/all.js";
import { replaceWritten } from "../broken-stores/fault.js";

/** Some faults show in only one of several hundred runs. */
const MAX_RUNS = 10_000;

type BrokenStores = (options: StoreOptions) => MapStore;

/** Like stores that keep an expiry instead of a lifetime. */
const keepsExpiry: Pick<Fault, "does" | "breakStore"> = {
  does: "keeps the later of two expiries",
  breakStore: store =>
    replaceWritten(store, (record, current) => {
      const expiry = current === undefined ? 0 : current.activeAt + current.lifetime;
      return { ...record, lifetime: Math.max(record.lifetime, expiry - record.activeAt) };
    }),
};

export function faultThat(does: string): Pick<Fault, "does" | "breakStore"> {
  const fault = [keepsExpiry, ...faults].find(each => each.does === does);
  if (fault === undefined) throw new Error(`No broken store ${does}`);
  return fault;
}

/** Stores with one fault that share their sessions. */
export function brokenStores({ breakStore }: Pick<Fault, "breakStore">): BrokenStores {
  const records = new Map<string, string>();
  return options => {
    const store = new MapStore(options, records);
    breakStore(store);
    return store;
  };
}

/** Expects that a property fails for stores with a fault. */
export async function expectFinding<T>(
  does: string,
  property: (stores: BrokenStores) => fc.IAsyncProperty<T>,
): Promise<void> {
  const broken = property(brokenStores(faultThat(does)));
  const { errorInstance } = await fc.check(broken, { numRuns: MAX_RUNS, endOnFailure: true });
  // The failure must be a difference or a store's error, not a mistake in the fault itself.
  expect(errorInstance).toMatchObject({ code: expect.stringMatching(/^ERR_(ASSERTION|STORE_|SESSION_)/) });
}
