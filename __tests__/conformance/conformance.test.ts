import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { type ConformanceOptions, storeConformance } from "../../lib/conformance.js";
import { decodeRecord, type StoredRecord } from "../../lib/index.js";
import { type Fault, faults, MAX_SESSION_BYTES, MapStore, replace } from "../helpers/broken-stores/all.js";

type SuiteOptions = Omit<ConformanceOptions<MapStore>, "describe" | "it">;

interface MapStores extends SuiteOptions {
  readonly records: Map<string, string>;
  readonly stores: readonly MapStore[];
  /** The batches that the stores have scanned. */
  readonly scans: Set<string>;
}

/** Delays the responses of a store's backend, like a network. */
function respondLater(store: MapStore): void {
  for (const method of ["_read", "_write", "_touch", "_remove"] as const) {
    replace(store, method, original => async (...args) => {
      await turn();
      return original(...args);
    });
  }
}

/** Creates a {@link MapStore} for the suite, with or without a fault. */
function mapStores(fault?: Pick<Fault, "breakStore">): MapStores {
  const records = new Map<string, string>();
  const stores: MapStore[] = [];
  const scans = new Set<string>();
  return {
    records,
    stores,
    scans,
    createStore: options => {
      const store = new MapStore(options, records);
      const scan = store._scan.bind(store);
      store._scan = start => {
        scans.add(start);
        return scan(start);
      };
      fault?.breakStore(store);
      stores.push(store);
      return store;
    },
    capabilities: { users: true, maxSessionBytes: MAX_SESSION_BYTES },
    putRaw: (_store, key, text) => {
      records.set(key, text);
    },
    breakBackend: store => {
      store.down = true;
    },
  };
}

/** The keys of all records except tombstones. */
function aliveIn(records: Map<string, string>): string[] {
  return [...records].flatMap(([key, text]) =>
    (decodeRecord(text) as StoredRecord).lifetime === 0 ? [] : [key],
  );
}

/** Collects the tests of the suite, by topic and name, instead of running them. */
function collect(options: SuiteOptions): Map<string, () => Promise<void>> {
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

describe.each([
  ["a correct store", undefined],
  ["a correct store whose backend responds later", { breakStore: respondLater }],
])("the suite passes on %s", (_name, change) => {
  const { records, scans, ...options } = mapStores(change);
  storeConformance({ describe, it, ...options });

  it("and leaves nothing alive there", () => {
    expect(aliveIn(records)).toEqual([]);
  });

  it("and scans no key that another test may have written", () => {
    expect([...scans].filter(start => !start.startsWith("conformance-"))).toEqual([]);
  });
});

describe("the suite catches a store that", () => {
  it.each(faults.map(fault => [fault.does, fault] as const))("%s", async (_does, fault) => {
    const [topic, ...names] = fault.caughtBy;
    const tests = collect(mapStores(fault));
    for (const name of names) {
      const test = tests.get(`${topic} › ${name}`);
      if (test === undefined) throw new Error(`There is no test called ${topic} › ${name}`);
      // The failure must be a failed assertion or a store's error, not a mistake in the fault itself.
      const failure = await test().then(
        () => assertionless(name),
        (error: { code?: unknown }) => error,
      );
      expect(failure).toMatchObject({ code: expect.stringMatching(/^ERR_(ASSERTION|STORE_|SESSION_)/) });
    }
  });
});

/** Stands for the error of a test that passes. */
function assertionless(name: string): { code?: unknown } {
  return { code: `passed: ${name}` };
}

describe("the suite", () => {
  it("names what it leaves out", () => {
    const names: string[] = [];
    const { createStore } = mapStores();
    const describeOnly = (name: string) => names.push(name);
    storeConformance({ describe: describeOnly, it, createStore, capabilities: { shared: false } });
    expect(names).toEqual([
      "the contract of session stores (not tested: two stores on one backend, two clocks, prefixes, the size limit, foreign records, findByUser and reindex, ending and changing the sessions of users, maxSessionsPerUser, users and secrets, arguments for users, outages)",
    ]);
  });

  it("leaves nothing alive and no store open, also when tests fail", async () => {
    const fault = faults.find(({ does }) => does === "brings back what was destroyed") as Fault;
    const { records, stores, ...options } = mapStores(fault);
    let failed = 0;
    for (const [id, test] of collect(options)) {
      if (!/^(destroyed|outages|foreign|callbacks)/.test(id)) continue;
      await test().catch(() => {
        failed += 1;
      });
    }
    expect(failed).toBeGreaterThan(5);
    expect(aliveIn(records)).toEqual([]);
    for (const store of stores) await expect(store.ping()).rejects.toThrow("closed");
  });

  it("runs under node:test, from the built package", () => {
    const folder = mkdtempSync(join(tmpdir(), "conformance-"));
    const dist = join(__dirname, "../../dist");
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
        // Otherwise Node.js assumes that it runs as a part of this run.
        env: { ...process.env, NODE_TEST_CONTEXT: undefined },
      });
      expect(stdout).toContain("# fail 0");
      expect(Number(/^# pass (\d+)/m.exec(stdout)?.[1])).toBeGreaterThan(200);
      expect(status).toBe(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
