import { GRACE_MS } from "../../lib/core/expiry.js";
import { Operation } from "../../lib/core/operation.js";
import { type Lease, LeaseWindows, leaseSeconds, MAX_LEASE_KEYS } from "../../lib/etcd/lease-pool.js";

const START = 1_700_000_000_000;

function windowsOf(prefix = "sess:"): LeaseWindows {
  return new LeaseWindows(prefix, async (_id, seconds) => seconds);
}

/** The leases of sessions of one lifetime that begin 100 ms apart, for `span` milliseconds. */
function leasesOver(span: number, lifetimeMs: number): Lease[] {
  const windows = windowsOf();
  const leases: Lease[] = [];
  for (let now = START; now < START + span; now += 100) leases.push(windows.leaseOf(now + lifetimeMs, now));
  return leases;
}

describe("leaseOf", () => {
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
        const { endsAt } = windowsOf().leaseOf(now + lifetimeMs, now);
        expect(endsAt - (now + lifetimeMs)).toBeGreaterThanOrEqual(0);
        expect(endsAt - (now + lifetimeMs)).toBeLessThan(windowMs);
      }
    }
  });

  it("gives a session that expires at the very end of a window that window", () => {
    expect(windowsOf().leaseOf(1_700_000_040_000, START).endsAt).toBe(1_700_000_040_000);
  });

  it("gives a session whose expiry is past a window too", () => {
    expect(windowsOf().leaseOf(START - 5000, START).endsAt).toBe(START - 5000);
  });

  it("gives the sessions of one window one lease, and further ones when it has as many keys as it may", () => {
    const windows = windowsOf();
    const counts = new Map<string, number>();
    for (let session = 0; session < 3 * MAX_LEASE_KEYS; session++) {
      const { id } = windows.leaseOf(START + 86_400_000, START);
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    expect([...counts.values()]).toEqual([MAX_LEASE_KEYS, MAX_LEASE_KEYS, MAX_LEASE_KEYS]);
  });

  it("leaves a session on its lease if that will do, and does not count it again", () => {
    const windows = windowsOf();
    const expiresAt = START + 86_400_000;
    const { id } = windows.leaseOf(expiresAt, START);
    for (let touch = 0; touch < 2 * MAX_LEASE_KEYS; touch++) {
      expect(windows.leaseOf(expiresAt + 1, START, id).id).toBe(id);
    }
    for (let session = 1; session < MAX_LEASE_KEYS; session++) windows.leaseOf(expiresAt, START);
    const next = windows.leaseOf(expiresAt, START);
    expect(next.id).not.toBe(id);
    // Also on one that takes no more.
    expect(windows.leaseOf(expiresAt, START, id).id).toBe(id);
    expect(windows.leaseOf(expiresAt + 60_000, START, id).endsAt).toBe(next.endsAt + 60_000);
  });

  it("gives other prefixes, other windows and other window sizes other leases", () => {
    const windows = windowsOf();
    const leases = [
      windows.leaseOf(START + 86_400_000, START),
      windowsOf("user:").leaseOf(START + 86_400_000, START),
      windows.leaseOf(START + 86_400_000 + 60_000, START),
      windows.leaseOf(START + 86_400_000, START + 86_400_000 - 600_000),
      windows.leaseOf(START + 86_400_000, START + 86_400_000 - 10_000),
    ];
    expect(new Set(leases.map(({ id }) => id)).size).toBe(leases.length);
  });

  it("computes the id from prefix and window alone, so that processes of any release share leases", () => {
    const { id } = windowsOf().leaseOf(START + 86_400_000, START);
    expect(id).toBe("4671470221068411351");
    expect(windowsOf().leaseOf(START + 86_400_001, START + 5000).id).toBe(id);
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
    const windows = windowsOf();
    const first = windows.leaseOf(START + 60_000, START);
    const second = windows.leaseOf(START + 120_000, START);
    windows.leaseOf(START + 180_000, first.endsAt);
    expect(windows.leaseOf(START + 120_000, START)).toBe(second);
    expect(windows.leaseOf(START + 60_000, START)).not.toBe(first);
  });
});

describe("leaseSeconds", () => {
  it("lasts until the grace period after the window, rounded up to whole seconds", () => {
    expect(leaseSeconds(START + 10_000, START)).toBe(10 + GRACE_MS / 1000);
    expect(leaseSeconds(START + 10_001, START)).toBe(11 + GRACE_MS / 1000);
    expect(leaseSeconds(START + 9_999, START)).toBe(10 + GRACE_MS / 1000);
  });

  it("is at least a second and at most what etcd takes", () => {
    expect(leaseSeconds(START - 86_400_000, START)).toBe(1);
    expect(leaseSeconds(8.64e15, START)).toBeLessThanOrEqual(9_000_000_000);
    expect(leaseSeconds(Number.MAX_SAFE_INTEGER * 1000, START)).toBe(9_000_000_000);
  });
});

describe("ready", () => {
  const operation = new Operation(60_000);
  const EXPIRY = START + 86_400_000;

  /** Leases with a record of what was granted, and grants that the test ends. */
  function scripted() {
    const grants: { id: string; seconds: number; succeed(left?: number): void; fail(error: Error): void }[] =
      [];
    const windows = new LeaseWindows(
      "sess:",
      (id, seconds) =>
        new Promise((resolve, fail) =>
          grants.push({ id, seconds, succeed: (left = seconds) => resolve(left), fail }),
        ),
    );
    return {
      windows,
      grants,
      ready: async (expiresAt = EXPIRY, current?: string) =>
        windows.ready(expiresAt, START, current, operation),
    };
  }

  it("grants a lease once, however many ask for it at the same moment, and all wait for it", async () => {
    const { windows, grants, ready } = scripted();
    const done: number[] = [];
    const asked = [1, 2, 3].map(index => ready().then(() => done.push(index)));
    await Promise.resolve();
    const lease = windows.leaseOf(EXPIRY, START);
    expect(grants).toMatchObject([{ id: lease.id, seconds: leaseSeconds(lease.endsAt, START) }]);
    expect(done).toEqual([]);
    grants[0]?.succeed();
    await Promise.all(asked);
    // There, as far as this process knows: nothing to wait for.
    expect(windows.ready(EXPIRY, START, undefined, operation)).toBe(lease);
    expect(grants).toHaveLength(1);
  });

  it("grants the leases of different windows at the same time", () => {
    const { windows, grants, ready } = scripted();
    void ready();
    void ready(EXPIRY + 60_000);
    const ids = [EXPIRY, EXPIRY + 60_000].map(expiresAt => windows.leaseOf(expiresAt, START).id);
    expect(grants.map(({ id }) => id)).toEqual(ids);
  });

  describe("when a grant fails", () => {
    const error = new Error("Deadline exceeded");
    const rejected = { status: "rejected", reason: error };

    it("fails who asked first, and tries again once for all who joined", async () => {
      const { grants, ready } = scripted();
      const asked = Promise.allSettled([ready(), ready(), ready()]);
      grants[0]?.fail(error);
      await new Promise(setImmediate);
      expect(grants).toHaveLength(2);
      grants[1]?.succeed();
      expect(await asked).toMatchObject([rejected, { status: "fulfilled" }, { status: "fulfilled" }]);
      expect(grants).toHaveLength(2);
    });

    it("for a second time fails all, and the next tries again", async () => {
      const { grants, ready } = scripted();
      const asked = Promise.allSettled([ready(), ready(), ready()]);
      grants[0]?.fail(error);
      await new Promise(setImmediate);
      grants[1]?.fail(error);
      expect(await asked).toEqual([rejected, rejected, rejected]);
      const again = ready();
      grants[2]?.succeed();
      await again;
      expect(grants).toHaveLength(3);
    });

    it("does not try again for an operation that has ended", async () => {
      const { windows, grants, ready } = scripted();
      const controller = new AbortController();
      const over = new Operation(60_000, controller.signal);
      const asked = Promise.allSettled([ready(), windows.ready(EXPIRY, START, undefined, over)]);
      const ended = over.limit(new Promise(() => {}));
      controller.abort(error);
      await expect(ended).rejects.toBe(error);
      grants[0]?.fail(error);
      expect(await asked).toEqual([rejected, rejected]);
      expect(grants).toHaveLength(1);
    });
  });

  it("grants a forgotten lease again", async () => {
    const { windows, grants, ready } = scripted();
    const first = ready();
    grants[0]?.succeed();
    const lease = await first;
    const { grant } = lease;
    windows.forget(lease, grant);
    const again = ready();
    grants[1]?.succeed();
    expect(await again).toBe(lease);
    expect(grants).toHaveLength(2);
    // Another who used the lost one finds out later.
    windows.forget(lease, grant);
    await ready();
    expect(grants).toHaveLength(2);
  });

  describe("meets a lease of a process whose clock is ahead,", () => {
    const untilEnd = Math.ceil((windowsOf().leaseOf(EXPIRY, START).endsAt - START) / 1000);

    it("and uses it if it lasts until the end of the window", async () => {
      const { grants, ready } = scripted();
      const asked = ready();
      grants[0]?.succeed(untilEnd);
      expect((await asked).id).toBe(grants[0]?.id);
      expect(grants).toHaveLength(1);
    });

    it.each([
      ["does not", untilEnd - 1],
      ["is gone", -1],
    ])("and goes on with the next of the window if it %s, with all who asked", async (_what, left) => {
      const { grants, ready } = scripted();
      const asked = [ready(), ready()];
      grants[0]?.succeed(left);
      await new Promise(setImmediate);
      const [short, next] = grants;
      expect(next?.id).not.toBe(short?.id);
      next?.succeed();
      for (const lease of asked) expect((await lease).id).toBe(next?.id);
      // Nor is a session left there that is on it.
      expect((await ready(EXPIRY, short?.id)).id).toBe(next?.id);
      expect(grants).toHaveLength(2);
    });

    it("and uses one of centuries, of which etcd would not grant more", async () => {
      const { grants, ready } = scripted();
      const asked = ready(8.64e15);
      grants[0]?.succeed(8_900_000_000);
      expect((await asked).id).toBe(grants[0]?.id);
    });
  });
});
