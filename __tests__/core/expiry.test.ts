import {
  deleteAtOf,
  earliestActivity,
  endOf,
  expiryOf,
  GRACE_MS,
  hasEnded,
  isGone,
  type LifetimePolicy,
  shownExpiry,
  TOMBSTONE_MS,
  touchAfterMs,
} from "../../lib/core/expiry.js";
import type { StoredRecord } from "../../lib/core/record.js";

const NOW = Date.UTC(2026, 0, 1);
const MINUTE = 60_000;

const policy = (changes: Partial<LifetimePolicy> = {}): LifetimePolicy => ({
  touchAfterMs: 0,
  absoluteTimeoutMs: undefined,
  tombstoneMs: 3_600_000,
  ...changes,
});

const record = (changes: Partial<StoredRecord> = {}): StoredRecord => ({
  data: "{}",
  version: "v",
  lifetime: 10 * MINUTE,
  activeAt: NOW,
  createdAt: NOW,
  ...changes,
});

describe("touchAfterMs", () => {
  it.each([
    [86_400_000, 60_000],
    [20 * MINUTE, 60_000],
    [10 * MINUTE, 30_000],
    [1000, 50],
    [5, 0],
  ])("of a session that lives %d ms is %d ms by default", (lifetime, expected) => {
    expect(touchAfterMs(lifetime, policy({ touchAfterMs: undefined }))).toBe(expected);
  });

  it("is what the option says, whatever the lifetime", () => {
    expect(touchAfterMs(5, policy({ touchAfterMs: 1000 }))).toBe(1000);
  });
});

describe("expiryOf", () => {
  it("is the lifetime after the last use", () => {
    expect(expiryOf(record(), policy())).toBe(NOW + 10 * MINUTE);
    expect(expiryOf(record({ activeAt: NOW + 5 }), policy({ touchAfterMs: 300 }))).toBe(
      NOW + 5 + 10 * MINUTE,
    );
  });

  it("is at most the absolute timeout after the creation", () => {
    const absolute = policy({ absoluteTimeoutMs: 15 * MINUTE });
    expect(expiryOf(record({ activeAt: NOW + 4 * MINUTE }), absolute)).toBe(NOW + 14 * MINUTE);
    expect(expiryOf(record({ activeAt: NOW + 14 * MINUTE }), absolute)).toBe(NOW + 15 * MINUTE);
  });
});

describe("endOf", () => {
  it("is touchAfter later than the expiry, but not than the absolute timeout", () => {
    const covered = policy({ touchAfterMs: 300, absoluteTimeoutMs: 10 * MINUTE + 400 });
    expect(endOf(record(), covered)).toBe(NOW + 10 * MINUTE + 300);
    expect(endOf(record({ activeAt: NOW + 200 }), covered)).toBe(NOW + 10 * MINUTE + 400);
  });

  it("is the first moment at which the session has ended", () => {
    const end = NOW + 10 * MINUTE;
    expect(hasEnded(record(), end - 1, policy())).toBe(false);
    expect(hasEnded(record(), end, policy())).toBe(true);
  });

  it("is a grace period before the session is gone", () => {
    const end = NOW + 10 * MINUTE;
    expect(isGone(record(), end + GRACE_MS - 1, policy())).toBe(false);
    expect(isGone(record(), end + GRACE_MS, policy())).toBe(true);
  });
});

describe("shownExpiry", () => {
  const covered = policy({ touchAfterMs: 300 });

  it("is the expiry until it is past, then the end: a cookie never shows a past one", () => {
    const expiry = NOW + 10 * MINUTE;
    expect(shownExpiry(record(), expiry - 1, covered)).toBe(expiry);
    expect(shownExpiry(record(), expiry, covered)).toBe(expiry + 300);
  });
});

describe("earliestActivity", () => {
  const policies = [policy(), policy({ touchAfterMs: 300 }), policy({ touchAfterMs: undefined })];

  it.each(policies)("is the first with which a record has not ended, or is not gone: %j", each => {
    for (const graceMs of [0, GRACE_MS]) {
      const earliest = earliestActivity(record(), NOW, graceMs, each);
      const isOver = graceMs === 0 ? hasEnded : isGone;
      expect(isOver(record({ activeAt: earliest, createdAt: 0 }), NOW, each)).toBe(false);
      expect(isOver(record({ activeAt: earliest - 1, createdAt: 0 }), NOW, each)).toBe(true);
    }
  });

  it("does not exist past the absolute end", () => {
    const absolute = policy({ absoluteTimeoutMs: MINUTE });
    const at = (now: number) => earliestActivity(record(), now, 0, absolute);
    expect(at(NOW + MINUTE - 1)).toBeLessThan(NOW + MINUTE);
    expect(at(NOW + MINUTE)).toBe(8.64e15);
  });
});

describe("deleteAtOf", () => {
  it("is the grace period after the end of a session", () => {
    expect(deleteAtOf(record(), policy({ touchAfterMs: 300 }))).toBe(NOW + 10 * MINUTE + 300 + GRACE_MS);
  });

  it("is an hour after the removal for a tombstone", () => {
    expect(deleteAtOf(record({ data: "", lifetime: 0 }), policy())).toBe(NOW + TOMBSTONE_MS);
  });
});
