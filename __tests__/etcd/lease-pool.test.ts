import { AsyncLocalStorage } from "node:async_hooks";
import { GRACE_MS } from "../../lib/core/expiry.js";
import { Operation } from "../../lib/core/operation.js";
import { type Lease, LeasePool, leaseEnd, leaseSeconds, MAX_LEASE_KEYS } from "../../lib/etcd/lease-pool.js";

const START = 1_700_000_000_000;

function newPool(): LeasePool {
  return new LeasePool(async (_id, seconds) => seconds);
}

/** Returns the leases of records of one lifetime that begin 100 ms apart, for `span` milliseconds. */
function leasesOver(span: number, lifetimeMs: number): Lease[] {
  const pool = newPool();
  const leases: Lease[] = [];
  for (let now = START; now < START + span; now += 100) leases.push(pool.select(now + lifetimeMs, now));
  return leases;
}

describe("select", () => {
  it.each([
    [0.005, 1],
    [10, 1],
    [39.999, 1],
    [40, 2],
    [100, 5],
    [299.999, 5],
    [300, 15],
    [600, 30],
    [1199.999, 30],
    [1200, 60],
    [86_400, 60],
    [31_536_000, 60],
  ])("gives sessions of %d s windows of %d s, end to end", (lifetime, window) => {
    const ends = new Set(leasesOver(10 * window * 1000, lifetime * 1000).map(({ endsAt }) => endsAt));
    const [first, ...more] = ends;
    expect(more.length).toBeGreaterThanOrEqual(9);
    expect([...more]).toEqual(more.map((_, index) => (first as number) + (index + 1) * window * 1000));
  });

  it("gives windows that end at the expiry or later, by less than a window", () => {
    for (let lifetimeMs = 1; lifetimeMs < 1e11; lifetimeMs = Math.ceil(lifetimeMs * 1.7)) {
      const windowMs = Math.max(1000, Math.min(60_000, lifetimeMs * 0.05));
      for (let now = START; now < START + 1e6; now += 98_765) {
        const { endsAt } = newPool().select(now + lifetimeMs, now);
        expect(endsAt - (now + lifetimeMs)).toBeGreaterThanOrEqual(0);
        expect(endsAt - (now + lifetimeMs)).toBeLessThan(windowMs);
      }
    }
  });

  it("gives a session that expires at the very end of a window that window", () => {
    expect(newPool().select(1_700_000_040_000, START).endsAt).toBe(1_700_000_040_000);
  });

  it("gives a session whose expiry is past a window too", () => {
    expect(newPool().select(START - 5000, START).endsAt).toBe(START - 5000);
  });

  it("gives the sessions of one window one lease, and further ones when it has as many keys as it may", () => {
    const pool = newPool();
    const counts = new Map<string, number>();
    for (let session = 0; session < 3 * MAX_LEASE_KEYS; session++) {
      const { id } = pool.select(START + 86_400_000, START);
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    expect([...counts.values()]).toEqual([MAX_LEASE_KEYS, MAX_LEASE_KEYS, MAX_LEASE_KEYS]);
  });

  it("leaves a session on its lease if that will do, and does not count it again", () => {
    const pool = newPool();
    const expiresAt = START + 86_400_000;
    const { id } = pool.select(expiresAt, START);
    for (let touch = 0; touch < 2 * MAX_LEASE_KEYS; touch++) {
      expect(pool.select(expiresAt + 1, START, id).id).toBe(id);
    }
    for (let session = 1; session < MAX_LEASE_KEYS; session++) pool.select(expiresAt, START);
    const next = pool.select(expiresAt, START);
    expect(next.id).not.toBe(id);
    // Also on a lease that accepts no more keys.
    expect(pool.select(expiresAt, START, id).id).toBe(id);
    expect(pool.select(expiresAt + 60_000, START, id).endsAt).toBe(next.endsAt + 60_000);
  });

  it("gives other windows and other pools other leases", () => {
    const pool = newPool();
    const leases = [
      pool.select(START + 86_400_000, START),
      newPool().select(START + 86_400_000, START),
      pool.select(START + 86_400_000 + 60_000, START),
    ];
    expect(new Set(leases.map(({ id }) => id)).size).toBe(leases.length);
  });

  it("gives forty processes with 4,900 records each leases of at most 10,000 keys", () => {
    const counts = new Map<string, number>();
    for (let process = 0; process < 40; process++) {
      const pool = newPool();
      for (let record = 0; record < 4900; record++) {
        const { id } = pool.select(START + 86_400_000, START);
        counts.set(id, (counts.get(id) ?? 0) + 1);
      }
    }
    expect(Math.max(...counts.values())).toBeLessThanOrEqual(10_000);
  });

  it("gives leases of one window that do not end in the same second", () => {
    const pool = newPool();
    const leases = new Map<string, Lease>();
    for (let record = 0; record < 50 * MAX_LEASE_KEYS; record++) {
      const lease = pool.select(START + 86_400_000, START);
      leases.set(lease.id, lease);
    }
    const [{ endsAt } = { endsAt: 0 }, ...others] = leases.values();
    expect(others).toHaveLength(49);
    const delays = [...leases.values()].map(({ grantedUntil }) => (grantedUntil - endsAt) / 1000);
    expect(new Set(delays).size).toBe(50);
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...delays)).toBeLessThan(60);
  });

  it("gives ids from which the end of the window can be computed", () => {
    for (const lifetimeMs of [1000, 100_000, 86_400_000, 8.64e15 - START]) {
      const { id, endsAt } = newPool().select(START + lifetimeMs, START);
      expect(leaseEnd(id)).toBe(endsAt);
    }
  });

  it("gives ids that are positive 63-bit integers, and no two windows the same", () => {
    const leases = leasesOver(1_000_000, 1000);
    for (const { id } of leases) {
      expect(id).toMatch(/^[1-9]\d*$/);
      expect(BigInt(id)).toBeLessThan(2n ** 63n);
    }
    const windows = new Set(leases.map(({ endsAt }) => endsAt));
    expect(new Set(leases.map(({ id }) => id)).size).toBe(windows.size);
  });

  it("keeps in mind only windows that are not over", () => {
    const pool = newPool();
    const first = pool.select(START + 60_000, START);
    const second = pool.select(START + 120_000, START);
    pool.select(START + 180_000, first.endsAt);
    expect(pool.select(START + 120_000, START)).toBe(second);
    expect(pool.select(START + 60_000, START)).not.toBe(first);
  });
});

describe("leaseSeconds", () => {
  it("lasts until the end of the window, rounded up to whole seconds", () => {
    expect(leaseSeconds(START + 10_000, START)).toBe(10);
    expect(leaseSeconds(START + 10_001, START)).toBe(11);
    expect(leaseSeconds(START + 9_999, START)).toBe(10);
  });

  it("is at least a second and at most what etcd takes", () => {
    expect(leaseSeconds(START - 86_400_000, START)).toBe(1);
    expect(leaseSeconds(8.64e15, START)).toBeLessThanOrEqual(9_000_000_000);
    expect(leaseSeconds(Number.MAX_SAFE_INTEGER * 1000, START)).toBe(9_000_000_000);
  });
});

describe("acquire", () => {
  const operation = new Operation(60_000);
  const EXPIRY = START + 86_400_000;

  /** A pool with a list of its grants, which the test completes. */
  function scripted() {
    const grants: { id: string; seconds: number; succeed(left?: number): void; fail(error: Error): void }[] =
      [];
    const pool = new LeasePool(
      (id, seconds) =>
        new Promise((resolve, fail) =>
          grants.push({ id, seconds, succeed: (left = seconds) => resolve(left), fail }),
        ),
    );
    return {
      pool,
      grants,
      acquire: async (expiresAt = EXPIRY, current?: string) =>
        pool.acquire(expiresAt, START, current, operation),
    };
  }

  it("grants a lease once, however many callers request it at the same moment, and all wait for it", async () => {
    const { pool, grants, acquire } = scripted();
    const done: number[] = [];
    const asked = [1, 2, 3].map(index => acquire().then(() => done.push(index)));
    await Promise.resolve();
    const lease = pool.select(EXPIRY, START);
    expect(grants).toMatchObject([{ id: lease.id, seconds: leaseSeconds(lease.grantedUntil, START) }]);
    expect(done).toEqual([]);
    grants[0]?.succeed();
    await Promise.all(asked);
    // The lease exists, as far as this process can see, so there is nothing to wait for.
    expect(pool.acquire(EXPIRY, START, undefined, operation)).toBe(lease);
    expect(grants).toHaveLength(1);
  });

  it("grants the leases of different windows at the same time", () => {
    const { pool, grants, acquire } = scripted();
    void acquire();
    void acquire(EXPIRY + 60_000);
    const ids = [EXPIRY, EXPIRY + 60_000].map(expiresAt => pool.select(expiresAt, START).id);
    expect(grants.map(({ id }) => id)).toEqual(ids);
  });

  describe("when a grant fails", () => {
    const error = new Error("Deadline exceeded");
    const rejected = { status: "rejected", reason: error };

    it("fails the first caller, and tries again once for all callers that joined", async () => {
      const { grants, acquire } = scripted();
      const asked = Promise.allSettled([acquire(), acquire(), acquire()]);
      grants[0]?.fail(error);
      await new Promise(setImmediate);
      expect(grants).toHaveLength(2);
      grants[1]?.succeed();
      expect(await asked).toMatchObject([rejected, { status: "fulfilled" }, { status: "fulfilled" }]);
      expect(grants).toHaveLength(2);
    });

    it("for a second time fails all, and the next tries again", async () => {
      const { grants, acquire } = scripted();
      const asked = Promise.allSettled([acquire(), acquire(), acquire()]);
      grants[0]?.fail(error);
      await new Promise(setImmediate);
      grants[1]?.fail(error);
      expect(await asked).toEqual([rejected, rejected, rejected]);
      const again = acquire();
      grants[2]?.succeed();
      await again;
      expect(grants).toHaveLength(3);
    });

    it("does not try again for an operation that has ended", async () => {
      const { pool, grants, acquire } = scripted();
      const controller = new AbortController();
      const over = new Operation(60_000, controller.signal);
      const asked = Promise.allSettled([acquire(), pool.acquire(EXPIRY, START, undefined, over)]);
      const ended = over.withTimeout(new Promise(() => {}));
      controller.abort(error);
      await expect(ended).rejects.toBe(error);
      grants[0]?.fail(error);
      expect(await asked).toEqual([rejected, rejected]);
      expect(grants).toHaveLength(1);
    });
  });

  it("grants a forgotten lease again", async () => {
    const { pool, grants, acquire } = scripted();
    const first = acquire();
    grants[0]?.succeed();
    const lease = await first;
    const { grant } = lease;
    pool.forget(lease, grant);
    const again = acquire();
    grants[1]?.succeed();
    expect(await again).toBe(lease);
    expect(grants).toHaveLength(2);
    // Another caller that used the lost lease notices the loss later.
    pool.forget(lease, grant);
    await acquire();
    expect(grants).toHaveLength(2);
  });

  it("grants leases in no caller's context", async () => {
    const storage = new AsyncLocalStorage<string>();
    const contexts: unknown[] = [];
    const pool = new LeasePool(async (_id, seconds) => {
      contexts.push(storage.getStore());
      return seconds;
    });
    await storage.run("caller", async () => {
      await pool.acquire(EXPIRY, START, undefined, operation);
      expect(storage.getStore()).toBe("caller");
    });
    expect(contexts).toEqual([undefined]);
  });

  describe("does not use a lease that ends before its record,", () => {
    /** The lifetime of a session in seconds, without the grace period after it. */
    const sessionSeconds = (EXPIRY - GRACE_MS - START) / 1000;

    it("but one that ends in the grace period, of a process whose clock is ahead", async () => {
      const { grants, acquire } = scripted();
      const asked = acquire();
      grants[0]?.succeed(sessionSeconds + 1);
      expect((await asked).id).toBe(grants[0]?.id);
      expect(grants).toHaveLength(1);
    });

    it.each([
      ["ends too soon", sessionSeconds - 1],
      ["does not exist", -1],
    ])("and goes on with the next of the window if it %s, with all callers", async (_what, left) => {
      const { grants, acquire } = scripted();
      const asked = [acquire(), acquire()];
      grants[0]?.succeed(left);
      await new Promise(setImmediate);
      const [short, next] = grants;
      expect(next?.id).not.toBe(short?.id);
      next?.succeed();
      for (const lease of asked) expect((await lease).id).toBe(next?.id);
      // A record must not stay on that lease either.
      expect((await acquire(EXPIRY, short?.id)).id).toBe(next?.id);
      expect(grants).toHaveLength(2);
    });

    it("and uses one of centuries, of which etcd would not grant more", async () => {
      const { grants, acquire } = scripted();
      const asked = acquire(8.64e15);
      grants[0]?.succeed(8_900_000_000);
      expect((await asked).id).toBe(grants[0]?.id);
    });

    it("also if it was granted while the clock of this host was two hours ahead", async () => {
      const pool = newPool();
      const ahead = START + 2 * 3_600_000;
      const short = await pool.acquire(EXPIRY, ahead, undefined, operation);
      // The lease is used while the clock is ahead, and for records that end early enough.
      expect(await pool.acquire(EXPIRY, ahead, undefined, operation)).toBe(short);
      const next = await pool.acquire(EXPIRY, START, undefined, operation);
      expect(next.endsAt).toBe(short.endsAt);
      expect(next.id).not.toBe(short.id);
      expect(await pool.acquire(EXPIRY, START, short.id, operation)).toBe(next);
      expect(await pool.acquire(EXPIRY, START, next.id, operation)).toBe(next);
    });
  });
});
