import { GRACE_MS } from "../../lib/internal/expiry.js";
import {
  LEASE_SHARDS,
  type LeaseWindow,
  LeaseWindows,
  leaseSeconds,
  leaseWindowOf,
} from "../../lib/internal/lease-windows.js";
import { Operation } from "../../lib/internal/operation.js";

const START = 1_700_000_000_000;
const keys = Array.from({ length: 1000 }, (_, index) => `sess:sid-${index}`);

/** The windows of sessions of one lifetime that begin 100 ms apart, for `span` milliseconds. */
function windowsOver(span: number, lifetimeMs: number, key = "sess:sid"): LeaseWindow[] {
  const windows: LeaseWindow[] = [];
  for (let now = START; now < START + span; now += 100) {
    windows.push(leaseWindowOf("sess:", key, now + lifetimeMs, now));
  }
  return windows;
}

describe("leaseWindowOf", () => {
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
    const ends = new Set(windowsOver(10 * window * 1000, lifetime * 1000).map(({ endsAt }) => endsAt));
    const [first, ...more] = ends;
    expect(more.length).toBeGreaterThanOrEqual(9);
    expect([...more]).toEqual(more.map((_, index) => (first as number) + (index + 1) * window * 1000));
  });

  it("gives windows that end at the expiry or later, by less than a window", () => {
    for (let lifetimeMs = 1; lifetimeMs < 1e11; lifetimeMs = Math.ceil(lifetimeMs * 1.7)) {
      const windowMs = Math.max(1000, Math.min(60_000, lifetimeMs * 0.05));
      for (let now = START; now < START + 1e6; now += 98_765) {
        const { endsAt } = leaseWindowOf("sess:", "sess:sid", now + lifetimeMs, now);
        expect(endsAt - (now + lifetimeMs)).toBeGreaterThanOrEqual(0);
        expect(endsAt - (now + lifetimeMs)).toBeLessThan(windowMs);
      }
    }
  });

  it("gives a session that expires at the very end of a window that window", () => {
    expect(leaseWindowOf("sess:", "sess:sid", 1_700_000_040_000, START).endsAt).toBe(1_700_000_040_000);
  });

  it("gives a session whose expiry is past a window too", () => {
    const { endsAt } = leaseWindowOf("sess:", "sess:sid", START - 5000, START);
    expect(endsAt).toBe(START - 5000);
  });

  it("gives the sessions of one window as many leases as there are shards, of about the same size", () => {
    const counts = new Map<string, number>();
    for (const key of keys) {
      const { id } = leaseWindowOf("sess:", key, START + 86_400_000, START);
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    expect(counts.size).toBe(LEASE_SHARDS);
    for (const count of counts.values()) expect(count).toBeGreaterThan(keys.length / LEASE_SHARDS / 2);
  });

  it("gives other prefixes, other windows and other window sizes other leases", () => {
    const windows = [
      leaseWindowOf("sess:", "k", START + 86_400_000, START),
      leaseWindowOf("user:", "k", START + 86_400_000, START),
      leaseWindowOf("sess:", "k", START + 86_400_000 + 60_000, START),
      leaseWindowOf("sess:", "k", START + 86_400_000, START + 86_400_000 - 600_000),
      leaseWindowOf("sess:", "k", START + 86_400_000, START + 86_400_000 - 10_000),
    ];
    expect(new Set(windows.map(({ id }) => id)).size).toBe(windows.length);
  });

  it("computes the id from prefix, window and key alone, so that processes of any release share leases", () => {
    const { id } = leaseWindowOf("sess:", "sess:sid-1", START + 86_400_000, START);
    expect(id).toBe("1375663108013992785");
    expect(leaseWindowOf("sess:", "sess:sid-1", START + 86_400_001, START + 5000).id).toBe(id);
  });

  it("gives ids that are positive 63-bit integers, and no two windows the same", () => {
    const ids = windowsOver(1_000_000, 1000).map(({ id }) => id);
    for (const id of ids) {
      expect(id).toMatch(/^[1-9]\d*$/);
      expect(BigInt(id)).toBeLessThan(2n ** 63n);
    }
    const windows = new Set(windowsOver(1_000_000, 1000).map(({ endsAt }) => endsAt));
    expect(new Set(ids).size).toBe(windows.size);
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

describe("LeaseWindows", () => {
  const window = { id: "1", endsAt: START + 60_000 };
  const other = { id: "2", endsAt: START + 120_000 };
  const operation = new Operation(60_000);

  /** Leases with a record of what was granted, and grants that the test ends. */
  function scripted() {
    const grants: { id: string; seconds: number; succeed(): void; fail(error: Error): void }[] = [];
    const leases = new LeaseWindows(
      (id, seconds) => new Promise((succeed, fail) => grants.push({ id, seconds, succeed, fail })),
    );
    return { leases, grants, ensure: (which = window, now = START) => leases.ensure(which, now, operation) };
  }

  it("grants a lease once, however many ask for it at the same moment, and all wait for it", async () => {
    const { grants, ensure } = scripted();
    const done: number[] = [];
    const asked = [1, 2, 3].map(index => ensure().then(() => done.push(index)));
    await Promise.resolve();
    expect(grants).toMatchObject([{ id: "1", seconds: 60 + GRACE_MS / 1000 }]);
    expect(done).toEqual([]);
    grants[0]?.succeed();
    await Promise.all(asked);
    await ensure();
    expect(grants).toHaveLength(1);
  });

  it("grants the leases of different windows at the same time", () => {
    const { grants, ensure } = scripted();
    void ensure(window);
    void ensure(other);
    expect(grants.map(({ id }) => id)).toEqual(["1", "2"]);
  });

  it("fails all who waited for a grant that failed, and tries again for the next", async () => {
    const { grants, ensure } = scripted();
    const asked = Promise.allSettled([ensure(), ensure()]);
    const error = new Error("no leader");
    grants[0]?.fail(error);
    const rejected = { status: "rejected", reason: error };
    expect(await asked).toEqual([rejected, rejected]);
    const again = ensure();
    grants[1]?.succeed();
    await again;
    expect(grants).toHaveLength(2);
  });

  it("grants a forgotten lease again", async () => {
    const { leases, grants, ensure } = scripted();
    const first = ensure();
    grants[0]?.succeed();
    const lost = await first;
    leases.forget(window, lost);
    const again = ensure();
    grants[1]?.succeed();
    await again;
    expect(grants).toHaveLength(2);
    // Another who used the lost one finds out later.
    leases.forget(window, lost);
    await ensure();
    expect(grants).toHaveLength(2);
  });

  it("keeps in mind only windows that are not over", async () => {
    const { grants, ensure } = scripted();
    void ensure(window);
    void ensure(other, window.endsAt);
    void ensure(other, window.endsAt);
    expect(grants.map(({ id }) => id)).toEqual(["1", "2"]);
    void ensure(window, window.endsAt);
    expect(grants.map(({ id }) => id)).toEqual(["1", "2", "1"]);
  });
});
