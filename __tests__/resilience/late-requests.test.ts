import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { eventsOf } from "../../lib/conformance/observe.js";
import { load, plain, requestSession, stored } from "../../lib/conformance/sessions.js";
import type { StoreError, StoreOptions } from "../../lib/index.js";
import type { Fault } from "../helpers/faults/fault-proxy.js";
import { firstSeed, runSchedules } from "../helpers/faults/late-schedules.js";
import {
  type OpenProxiedBackend,
  type ProxiedBackend,
  type ProxyLink,
  proxiedBackends,
} from "../helpers/faults/proxied-backends.js";
import { ProxiedProcess } from "../helpers/faults/proxied-process.js";

const FAILURES = ["ERR_STORE_UNAVAILABLE", "ERR_STORE_TIMEOUT"];
const MAX_CALLS = 5;
/** For the calls that must not fail, however busy the machine is. */
const PATIENCE_MS = 15_000;

const SCHEDULES = 10;

describe.each(proxiedBackends)("a late request to $name", ({ open, repeats }) => {
  let backend: OpenProxiedBackend;
  let links: ProxyLink[];
  let prefix: string;
  let a: ProxiedProcess;
  let b: ProxiedProcess;

  beforeAll(async () => {
    backend = await open();
    links = await Promise.all([backend.link({ delayMs: 10_000 }), backend.link({ attemptMs: PATIENCE_MS })]);
  });
  afterAll(async () => {
    for (const link of links) await link.close();
    await backend.close();
  });
  beforeEach(async () => {
    prefix = `late-${randomUUID()}:`;
    [a, b] = await Promise.all([start(links[0]), start(links[1], { timeoutMs: PATIENCE_MS })]);
  });
  afterEach(async () => {
    for (const { proxy } of links) {
      proxy.intercept();
      await proxy.release();
    }
    for (const each of [a, b]) await each.stop();
  });

  const start = (link: ProxyLink | undefined, options?: StoreOptions) =>
    ProxiedProcess.start(link as ProxyLink, { prefix, touchAfter: 0, ...options });

  /** Decides the fate of each write of a session by process A. Grants of leases are forwarded. */
  const intercept = (next: () => Fault | undefined) =>
    a.proxy.intercept(({ kind, body }) =>
      kind === "write" && body.includes(prefix) ? (next() ?? "forward") : "forward",
    );

  /** Applies one fault after the other, and then forwards. */
  const inject = (...faults: Fault[]) => intercept(() => faults.shift());

  /** Applies a fault to all writes. */
  const injectAll = (fault: Fault) => intercept(() => fault);

  /** Makes all late requests arrive. */
  async function release(): Promise<void> {
    a.proxy.intercept();
    await a.proxy.drained();
    expect(a.proxy.held).not.toHaveLength(0);
    await a.proxy.release();
  }

  /** Repeats a failed call, like an application whose client does not repeat requests. */
  async function insist(call: () => Promise<void>): Promise<void> {
    for (let calls = 1; ; calls++) {
      try {
        return await call();
      } catch (error) {
        if (calls === MAX_CALLS || repeats) throw error;
        expect(FAILURES).toContain((error as StoreError).code);
      }
    }
  }

  async function fails(call: Promise<void>): Promise<void> {
    const error = await call.then(
      () => undefined,
      reason => reason,
    );
    expect(FAILURES).toContain(error?.code);
  }

  const newSession = (sid: string, fields: Record<string, unknown>) =>
    requestSession(a.store, sid, plain(fields));

  async function change(
    process: ProxiedProcess,
    sid: string,
    fields: Record<string, unknown>,
  ): Promise<void> {
    const session = Object.assign(await load(process.store, sid), fields);
    await process.store.set(sid, session);
  }

  async function until(condition: () => boolean): Promise<void> {
    while (!condition()) await sleep(5);
  }

  describe("first save", () => {
    it("changes nothing after later saves", async () => {
      const session = newSession("ann", { user: "ann" });
      inject("hold-reset");
      await insist(() => a.store.set("ann", session));
      await a.store.set("ann", Object.assign(session, { cart: ["tea"] }));
      await change(b, "ann", { theme: "dark" });
      await release();
      expect(await stored(b.store, "ann")).toEqual({ user: "ann", cart: ["tea"], theme: "dark" });
    });

    it.each(["the same", "another"])("does not bring back what %s process destroyed", async which => {
      inject("hold-reset");
      const session = newSession("ann", { user: "ann" });
      await insist(() => a.store.set("ann", session));
      await (which === "another" ? b : a).store.destroy("ann");
      await release();
      expect(await stored(b.store, "ann")).toBeNull();
      await a.store.set("ann", Object.assign(session, { cart: [] }));
      expect(await stored(b.store, "ann")).toBeNull();
    });

    it("that timed out does not bring back what another process destroyed by its id, 50 times", async () => {
      await a.stop();
      a = await start(links[0], { timeoutMs: 1000 });
      injectAll("hold");
      const sids = Array.from({ length: 50 }, (_, index) => `user-${index}`);
      await Promise.all(sids.map(sid => fails(a.store.set(sid, newSession(sid, { user: sid })))));
      await Promise.all(sids.map(sid => b.store.destroy(sid)));
      await release();
      expect(await b.store.ids()).toEqual([]);
    });

    it("of a process that crashed before it had a response does not bring back what another destroyed", async () => {
      injectAll("hold");
      const saved = a.store.set("ann", newSession("ann", { user: "ann" }), a.callOptions);
      const failed = expect(saved).rejects.toThrow();
      await until(() => a.proxy.held.length > 0);
      a.crash();
      await failed;
      await b.store.destroy("ann");
      await release();
      expect(await stored(b.store, "ann")).toBeNull();
      await a.restart();
      expect(await stored(a.store, "ann")).toBeNull();
    });
  });

  describe("save", () => {
    beforeEach(() => b.store.set("ann", plain({ views: 1 })));

    it.each(["hold-reset", "repeat"] as const)("changes nothing after later saves (%s)", async fault => {
      const session = await load(a.store, "ann");
      inject(fault);
      await insist(() => a.store.set("ann", Object.assign(session, { views: 2 })));
      await change(b, "ann", { views: 3, theme: "dark" });
      await a.store.set("ann", Object.assign(session, { cart: [] }));
      await release();
      expect(await stored(b.store, "ann")).toEqual({ views: 3, theme: "dark", cart: [] });
    });

    it("does not bring back what was destroyed", async () => {
      const session = await load(a.store, "ann");
      inject("repeat", "hold-reset");
      await a.store.set("ann", Object.assign(session, { views: 2 }));
      await insist(() => a.store.set("ann", Object.assign(session, { views: 3 })));
      await b.store.destroy("ann");
      await release();
      expect(await stored(b.store, "ann")).toBeNull();
    });

    it("changes nothing in a session that was created anew", async () => {
      const session = await load(a.store, "ann");
      inject("hold-reset");
      await insist(() => a.store.set("ann", Object.assign(session, { views: 2 })));
      await b.store.destroy("ann");
      await b.store.set("ann", plain({ user: "bob" }));
      await release();
      expect(await stored(b.store, "ann")).toEqual({ user: "bob" });
    });

    it("of a process that crashed is done as a whole or not at all, and undoes nothing", async () => {
      const session = Object.assign(await load(a.store, "ann"), { views: 2, cart: [] });
      injectAll("hold");
      const failed = expect(a.store.set("ann", session, a.callOptions)).rejects.toThrow();
      await until(() => a.proxy.held.length > 0);
      a.crash();
      await failed;
      await change(b, "ann", { theme: "dark" });
      await release();
      expect(await stored(b.store, "ann")).toEqual({ views: 1, theme: "dark" });
    });

    it("that took place without a response is recognized, and what another built on it stays", async () => {
      const conflicts = eventsOf(a.store, "conflict");
      const session = Object.assign(await load(a.store, "ann"), { views: 2 });
      injectAll("drop-response");
      await fails(a.store.set("ann", session));
      a.proxy.intercept();
      await change(b, "ann", { views: 3 });
      await a.store.set("ann", session);
      expect(await stored(b.store, "ann")).toEqual({ views: 3 });
      expect((await conflicts()).flatMap(({ keys }) => keys)).toEqual([]);
    });

    if (repeats) {
      it("that took place without a response is recognized when the client repeats it", async () => {
        const session = Object.assign(await load(a.store, "ann"), { views: 2 });
        inject("drop-response", "delay");
        const saved = a.store.set("ann", session);
        await until(() => a.proxy.counts.delay > 0);
        await change(b, "ann", { views: 3 });
        // Releases the repeated request.
        await a.store.get("bob");
        await saved;
        expect(await stored(b.store, "ann")).toEqual({ views: 3 });
      });
    }
  });

  describe("removal", () => {
    beforeEach(() => b.store.set("ann", plain({ user: "ann" })));

    it.each(repeats ? (["hold-reset", "repeat"] as const) : (["repeat"] as const))(
      "leaves the session that another process has created anew (%s)",
      async fault => {
        inject(fault);
        await a.store.destroy("ann");
        await b.store.set("ann", plain({ user: "bob" }));
        await change(b, "ann", { cart: [] });
        await release();
        expect(await stored(b.store, "ann")).toEqual({ user: "bob", cart: [] });
      },
    );

    it.each(["hold-reset", "repeat"] as const)(
      "by `maxAge = 0` leaves the session that was created anew (%s)",
      async fault => {
        const session = await load(a.store, "ann");
        session.cookie.maxAge = 0;
        inject(fault);
        await insist(() => a.store.set("ann", session));
        expect(await stored(b.store, "ann")).toBeNull();
        await b.store.set("ann", plain({ user: "bob" }));
        await release();
        expect(await stored(b.store, "ann")).toEqual({ user: "bob" });
      },
    );

    it("and creation over its tombstone, both late, do not bring back what another process destroyed", async () => {
      intercept(() => "repeat");
      await a.store.destroy("ann");
      await a.store.set("ann", plain({ user: "bob" }));
      await b.store.destroy("ann");
      await release();
      expect(await stored(b.store, "ann")).toBeNull();
    });

    it("by `maxAge = 0`, of a process that crashed, removes nothing that others have changed", async () => {
      const session = await load(a.store, "ann");
      session.cookie.maxAge = 0;
      injectAll("hold");
      const failed = expect(a.store.set("ann", session, a.callOptions)).rejects.toThrow();
      await until(() => a.proxy.held.length > 0);
      a.crash();
      await failed;
      await change(b, "ann", { cart: [] });
      await release();
      expect(await stored(b.store, "ann")).toEqual({ user: "ann", cart: [] });
    });
  });

  it.each(["hold-reset", "repeat"] as const)(
    "touch does not bring back what was destroyed (%s)",
    async fault => {
      await b.store.set("ann", plain({ user: "ann" }));
      const session = await load(a.store, "ann");
      await sleep(5);
      inject(fault);
      await insist(() => a.store.touch("ann", session));
      await b.store.destroy("ann");
      await release();
      expect(await stored(b.store, "ann")).toBeNull();
      await b.store.set("ann", plain({ user: "bob" }));
      await a.store.touch("ann", session);
      expect(await stored(b.store, "ann")).toEqual({ user: "bob" });
    },
  );
});

describe.each(proxiedBackends)("random schedules of late requests to $name", backend => {
  it(`undo nothing that was acknowledged, ${SCHEDULES} times`, async () => {
    const counts = await runSchedules(backend, { count: SCHEDULES, seed: firstSeed() });
    for (const fault of ["hold-reset", "repeat", "drop-response", "delay"] as const) {
      expect(counts[fault]).toBeGreaterThan(0);
    }
  }, 120_000);
});

// late-requests.soak.ts does so on each backend.
describe("random schedules of late requests find a store", () => {
  const redis = proxiedBackends.find(({ name }) => name === "Redis") as ProxiedBackend;

  it.each(["deletes", "overwrites"] as const)(
    "that %s",
    async flaw => {
      const schedules = { count: 200, seed: firstSeed(), flaw };
      await expect(runSchedules(redis, schedules)).rejects.toThrow(/^Seed \d+: /);
    },
    120_000,
  );
});
