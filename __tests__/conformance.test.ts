import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConformanceOptions, storeConformance } from "../lib/conformance.js";
import { type Fault, faults, MAX_SESSION_BYTES, MapStore } from "./helpers/broken-stores.js";

/** The suite's way to a {@link MapStore}, with a fault or without. */
function mapStores(fault?: Fault): Omit<ConformanceOptions<MapStore>, "describe" | "it"> {
  const records = new Map<string, string>();
  return {
    createStore: options => {
      const store = new MapStore(options, records);
      fault?.breakStore(store);
      return store;
    },
    capabilities: { maxSessionBytes: MAX_SESSION_BYTES },
    plant: (_store, key, text) => {
      records.set(key, text);
    },
    breakBackend: store => {
      store.down = true;
    },
  };
}

/** The tests of the suite, by topic and name, instead of running them. */
function collect(options: Omit<ConformanceOptions, "describe" | "it">): Map<string, () => Promise<void>> {
  const tests = new Map<string, () => Promise<void>>();
  const path: string[] = [];
  storeConformance({
    ...options,
    describe: (name, body) => {
      path.push(name);
      body();
      path.pop();
    },
    it: (name, body) => {
      const id = `${path.at(-1)} › ${name}`;
      if (tests.has(id)) throw new Error(`Two tests are called ${id}`);
      tests.set(id, body);
    },
  });
  return tests;
}

describe("a correct store", () => {
  storeConformance({ describe, it, ...mapStores() });
});

describe("the suite catches a store that", () => {
  it.each(faults.map(fault => [fault.does, fault] as const))("%s", async (_does, fault) => {
    const test = collect(mapStores(fault)).get(fault.caughtBy.join(" › "));
    if (test === undefined) throw new Error(`There is no test called ${fault.caughtBy.join(" › ")}`);
    // A failed assertion or a store's error: not a mistake in the fault itself.
    await expect(test()).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_(ASSERTION|STORE_|SESSION_)/),
    });
  });
});

describe("the suite", () => {
  it("names what it leaves out", () => {
    const names: string[] = [];
    const { createStore } = mapStores();
    const describeOnly = (name: string) => names.push(name);
    storeConformance({ describe: describeOnly, it, createStore, capabilities: { shared: false } });
    expect(names).toEqual([
      "the contract of session stores (not tested: two stores on one backend, prefixes, the size limit, foreign records, outages)",
    ]);
  });

  it("leaves nothing behind, also when a test fails", async () => {
    for (const fault of [undefined, faults[0]]) {
      const records = new Map<string, string>();
      const stores: MapStore[] = [];
      const createStore: ConformanceOptions["createStore"] = options => {
        const store = new MapStore(options, records);
        fault?.breakStore(store);
        stores.push(store);
        return store;
      };
      for (const [id, test] of collect({ createStore })) {
        if (id.startsWith("sessions that are gone")) await test().catch(() => {});
      }
      expect(records.size).toBe(0);
      expect(stores.length).toBeGreaterThan(5);
      for (const store of stores) await expect(store.ping()).rejects.toThrow("closed");
    }
  });

  it("runs under node:test, from the built package", () => {
    const folder = mkdtempSync(join(tmpdir(), "conformance-"));
    const dist = join(__dirname, "../dist");
    const file = join(folder, "memory.test.cjs");
    writeFileSync(
      file,
      `const { describe, it } = require("node:test");
       const { storeConformance } = require(${JSON.stringify(join(dist, "conformance.js"))});
       const { MemoryStore } = require(${JSON.stringify(join(dist, "memory.js"))});
       const createStore = options => new MemoryStore(options);
       storeConformance({ describe, it, createStore, capabilities: { shared: false } });`,
    );
    try {
      const { stdout, status } = spawnSync(process.execPath, ["--test", "--test-reporter=tap", file], {
        encoding: "utf8",
        // Or node takes itself for a part of the run that it finds itself in.
        env: { ...process.env, NODE_TEST_CONTEXT: undefined },
      });
      expect(stdout).toContain("# fail 0");
      expect(Number(/^# pass (\d+)/m.exec(stdout)?.[1])).toBeGreaterThan(100);
      expect(status).toBe(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
