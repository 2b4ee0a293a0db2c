import fc from "fast-check";
import type { StoreOptions } from "../lib/index.js";
import { type Fault, faults, MapStore } from "./helpers/broken-stores.js";
import { modelBackends, modelProperty, runModel } from "./helpers/model-runs.js";

describe("a store does what the model of the contract does", () => {
  it.each(modelBackends)(
    "$backend.name, $runs runs",
    modelBackend => runModel(modelBackend, modelBackend.runs),
    120_000,
  );
});

/** What commands one after the other, with sessions that can be saved and few of them, do not show. */
const unseen = new Set([
  // model-concurrent.test.ts finds it.
  "checks the version and writes in two steps",
  "calls back twice",
  "calls back synchronously",
  "calls a callback that throws a second time, with its own exception",
  "throws instead of calling back",
  "ignores signals",
  "goes on working after close",
  "shows sids in its events",
  "loses characters of the data",
  "cuts off what is too large",
  "lists only the first page",
  "pages by position, so that what comes and goes shifts the pages",
  'takes an outage for "no session"',
  "lets ENOENT out of get",
  "removes records that it cannot read",
  "fails at records that it cannot read",
]);

const seen = faults.filter(({ does }) => !unseen.has(does));

function brokenStores({ breakStore }: Fault): (options: StoreOptions) => MapStore {
  const records = new Map<string, string>();
  return options => {
    const store = new MapStore(options, records);
    breakStore(store);
    return store;
  };
}

describe("the model finds a store that", () => {
  it.each(seen)("$does", async fault => {
    const property = modelProperty(brokenStores(fault), true);
    const { errorInstance } = await fc.check(property, { numRuns: 2000, endOnFailure: true });
    // A difference or a store's error: not a mistake in the fault itself.
    expect(errorInstance).toMatchObject({ code: expect.stringMatching(/^ERR_(ASSERTION|STORE_|SESSION_)/) });
  });

  it("differs, and says so with a short list of commands that can be run again", async () => {
    const fault = faults.find(({ does }) => does === "shortens a session by a touch") as Fault;
    const stores = brokenStores(fault);
    const { counterexample, counterexamplePath, seed } = await fc.check(modelProperty(stores, true), {
      numRuns: 2000,
      seed: 1,
    });
    const script = String(counterexample?.[1]);
    expect(script).toMatch(/touch\(/);
    const [commands = "", replayPath = ""] = script.split(/ \/\*replayPath="(.*)"\*\//);
    // Each command begins so.
    expect(commands.split(/,(?=r\d|a|save|touch)/).length).toBeLessThanOrEqual(6);
    const again = await fc.check(modelProperty(stores, true, {}, replayPath), {
      seed,
      path: counterexamplePath as string,
      endOnFailure: true,
    });
    expect(again.numRuns).toBe(1);
    expect(String(again.counterexample?.[1])).toBe(script);
  });
});
