import {
  createdVersion,
  hasWriteId,
  incarnationOf,
  lastWriteId,
  WriteIds,
} from "../../lib/core/save/write-ids.js";

const MAX_VERSION_LENGTH = 80;
const PRINTABLE = /^[!-~]+$/;

const tombstoneOf = (version: string) => ({ data: "", version, lifetime: 0, activeAt: 1, createdAt: 1 });

describe("WriteIds", () => {
  it("never gives an id twice, within a store and between stores", () => {
    const stores = Array.from({ length: 50 }, () => new WriteIds());
    const ids = stores.flatMap(store =>
      Array.from({ length: 200 }, () => [store.next(), store.nextRemoval()]).flat(),
    );
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("gives ids of one length, so that they can be told apart in a version", () => {
    const ids = new WriteIds();
    for (let count = 0; count < 5000; count++) {
      expect(ids.next()).toMatch(/^[A-Za-z0-9_-]{10}$/);
      expect(ids.nextRemoval()).toMatch(/^~[A-Za-z0-9_-]{9}$/);
    }
  });
});

describe("a version", () => {
  it("has the id of the write that created the record, and of the last one, however many followed", () => {
    const creator = new WriteIds();
    const created = creator.next();
    let version = createdVersion(created);
    expect(lastWriteId(version)).toBe(created);
    for (let count = 0; count < 20; count++) {
      const ids = new WriteIds();
      const id = ids.next();
      version = ids.extend(version, id);
      expect(incarnationOf(version)).toBe(created);
      expect(lastWriteId(version)).toBe(id);
      expect(hasWriteId(version, id)).toBe(true);
      expect(hasWriteId(version, created)).toBe(true);
      expect(version).toMatch(PRINTABLE);
      expect(version.length).toBeLessThanOrEqual(MAX_VERSION_LENGTH);
    }
  });

  it("keeps the id of a write that is in flight while four other processes write", () => {
    const mine = new WriteIds();
    const id = mine.next();
    mine.sent(id);
    let version = mine.extend(createdVersion(new WriteIds().next()), id);
    for (let count = 0; count < 4; count++) {
      const others = new WriteIds();
      version = others.extend(version, others.next());
      expect(hasWriteId(version, id)).toBe(true);
    }
  });

  it("keeps the id of the last removal over the sessions that are created after it", () => {
    const ids = new WriteIds();
    const removal = ids.nextRemoval();
    const first = createdVersion(ids.next(), tombstoneOf(removal));
    const ended = { ...tombstoneOf(ids.extend(first, ids.next())), data: "{}", lifetime: 1 };
    const second = createdVersion(ids.next(), ended);
    expect(hasWriteId(second, removal)).toBe(true);
    expect(incarnationOf(second)).not.toBe(incarnationOf(first));
    expect(second.length).toBeLessThanOrEqual(MAX_VERSION_LENGTH);
  });

  it("keeps the ids of writes of this process that had no response, and drops the settled ones", () => {
    const ids = new WriteIds();
    const [settled, unsettled, last] = [ids.next(), ids.next(), ids.next()];
    for (const id of [settled, unsettled]) ids.sent(id);
    let version = ids.extend(createdVersion(new WriteIds().next()), settled);
    version = ids.extend(version, unsettled);
    ids.settled(settled);
    version = ids.extend(version, last);
    expect([settled, unsettled, last].map(id => hasWriteId(version, id))).toEqual([false, true, true]);
  });

  it("keeps a bounded number of ids of writes that never had a response", () => {
    const ids = new WriteIds();
    let version = createdVersion(ids.next());
    for (let count = 0; count < 2000; count++) {
      const id = ids.next();
      ids.sent(id);
      version = ids.extend(version, id);
      expect(version.length).toBeLessThanOrEqual(MAX_VERSION_LENGTH);
    }
  });

  it("of a session that was created over a tombstone contains the id of the removal, also after later writes", () => {
    const ids = new WriteIds();
    const [removal, created] = [ids.nextRemoval(), ids.next()];
    let version = createdVersion(created, tombstoneOf(removal));
    expect(version).toContain(removal);
    expect(incarnationOf(version)).toBe(created);
    expect(lastWriteId(version)).toBe(created);
    for (let count = 0; count < 4; count++) {
      const others = new WriteIds();
      version = others.extend(version, others.next());
    }
    expect(version.length).toBeLessThanOrEqual(MAX_VERSION_LENGTH);
  });

  it("has no id that it does not have, whatever two neighbouring ids look like", () => {
    const ids = new WriteIds();
    const version = ids.extend(createdVersion(ids.next()), ids.next());
    const misaligned = version.slice(5, 15);
    expect(hasWriteId(version, misaligned)).toBe(false);
    expect(hasWriteId(version, "")).toBe(false);
  });
});
