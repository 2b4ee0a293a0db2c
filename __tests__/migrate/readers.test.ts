import session, { type SessionData, type Store } from "express-session";
import { MemoryStore } from "../../lib/memory.js";
import { copy, type SourceSession, type UnreadableSession } from "../../lib/migrate.js";
import { settled } from "../helpers/apps/app.js";
import { collect, type OpenOldStore, oldStores } from "../helpers/migration/old-stores.js";

const TEN_MINUTES = 600_000;
/** The peers round to seconds. */
const ROUNDING = 1500;

type Item = SourceSession | UnreadableSession;

function sessionWith(fields: object, maxAge?: number): SessionData {
  const cookie = new session.Cookie();
  if (maxAge !== undefined) cookie.maxAge = maxAge;
  return { cookie, ...fields } as SessionData;
}

const save = (store: Store, sid: string, data: SessionData) => settled(done => store.set(sid, data, done));
const touch = (store: Store, sid: string, data: SessionData) =>
  settled(done => (store.touch as (...all: unknown[]) => void)(sid, data, done));
const load = (store: Store, sid: string) =>
  new Promise<SessionData | null | undefined>((resolve, reject) => {
    store.get(sid, (error, found) => (error && error.code !== "ENOENT" ? reject(error) : resolve(found)));
  });

/** Many in parallel, but not all, because a client has a limited number of connections. */
async function saveMany(store: Store, sids: readonly string[], fields: object): Promise<void> {
  const rest = [...sids];
  const work = async () => {
    for (let sid = rest.pop(); sid !== undefined; sid = rest.pop()) {
      await save(store, sid, sessionWith({ ...fields, sid }, TEN_MINUTES));
    }
  };
  await Promise.all(Array.from({ length: 25 }, work));
}

const sidsOf = (items: readonly Item[]) => items.map(({ sid }) => sid).sort();

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `sid-${String(index).padStart(5, "0")}`);
}

describe.each(oldStores)("the reader of $name", ({ open, touchesExpiryAlone, defaultTtl }) => {
  let old: OpenOldStore;
  beforeEach(async () => {
    old = await open();
  });
  afterEach(() => old.close());

  async function read(): Promise<Map<string, SourceSession>> {
    const items = await collect(old.reader);
    return new Map(items.map(item => [item.sid, item as SourceSession]));
  }

  function expectTime(actual: number | undefined, expected: number): void {
    expect(Math.abs((actual ?? 0) - expected)).toBeLessThan(ROUNDING);
  }

  it("gives each live session with its expiry, and none that has ended", async () => {
    await save(
      old.store,
      "with",
      sessionWith({ user: "ann", list: [1, { a: null }], on: true }, TEN_MINUTES),
    );
    await save(old.store, "without", sessionWith({ user: "bob" }));
    await save(old.store, "ended", sessionWith({ user: "eve" }, -5000));
    const now = Date.now();
    const found = await read();
    expect([...found.keys()].sort()).toEqual(["with", "without"]);
    expect(found.get("with")?.session).toMatchObject({ user: "ann", list: [1, { a: null }], on: true });
    expectTime(found.get("with")?.expiresAt, now + TEN_MINUTES);
    if (defaultTtl === undefined) expect(found.get("without")?.expiresAt).toBeUndefined();
    else expectTime(found.get("without")?.expiresAt, now + defaultTtl * 1000);
  });

  it("gives what the store itself gives, with a cookie that express-session takes", async () => {
    await save(old.store, "with", sessionWith({ user: "ann" }, TEN_MINUTES));
    await save(old.store, "without", sessionWith({ user: "bob" }));
    for (const [sid, { session: given }] of await read()) {
      const { cookie, ...fields } = given;
      const { cookie: _cookie, ...expected } = (await load(old.store, sid)) as SessionData;
      expect(fields).toEqual(expected);
      const { originalMaxAge, expires, path, httpOnly } = cookie;
      expect([path, httpOnly]).toEqual(["/", true]);
      expect(originalMaxAge ?? null).toBe(sid === "with" ? TEN_MINUTES : null);
      if (sid === "without") expect(expires ?? null).toBeNull();
      else expectTime(new Date(expires as Date).getTime(), Date.now() + TEN_MINUTES);
    }
  });

  it("gives the expiry of the last touch, which the cookie may not have", async () => {
    await save(old.store, "sid", sessionWith({ user: "ann" }, 2000));
    const savedAt = Date.now();
    const renewed = sessionWith({ user: "ann" }, TEN_MINUTES);
    await touch(old.store, "sid", renewed);
    const { session: given, expiresAt } = (await read()).get("sid") as SourceSession;
    expectTime(expiresAt, Date.now() + TEN_MINUTES);
    expect(given).toMatchObject({ user: "ann" });
    // dynamodb-store has no date in the cookie, so its reader sets the right one.
    if (!touchesExpiryAlone || "updated" in given) return;
    expectTime(new Date(given.cookie.expires as Date).getTime(), savedAt + 2000);
  });

  it("gives a session whose cookie has ended, whose record has been touched since, and that copy keeps", async () => {
    const saved = sessionWith({ user: "ann" }, TEN_MINUTES);
    // As if nothing but its expiry had changed for nine minutes and 59 seconds.
    saved.cookie.expires = new Date(Date.now() + 1000);
    saved.cookie.originalMaxAge = TEN_MINUTES;
    await save(old.store, "sid", saved);
    await touch(old.store, "sid", sessionWith({ user: "ann" }, TEN_MINUTES));
    await new Promise(resolve => setTimeout(resolve, 1100));
    expect((await read()).get("sid")?.session).toMatchObject({ user: "ann" });
    expect(await load(old.store, "sid")).toMatchObject({ user: "ann" });

    const to = new MemoryStore();
    expect(await copy({ from: old.reader, to })).toMatchObject({ seen: 1, copied: 1, failed: 0 });
    const copied = (await to.get("sid")) as SessionData;
    expect(copied).toMatchObject({ user: "ann", cookie: { originalMaxAge: TEN_MINUTES } });
    expectTime(new Date(copied.cookie.expires as Date).getTime(), Date.now() - 1100 + TEN_MINUTES);
    await to.close();
  });

  it("gives 2,500 sessions once each, as often as they are read", async () => {
    const sids = numbered(2500);
    // Together, the items exceed the megabyte of a page of DynamoDB.
    await saveMany(old.store, sids, { padding: "x".repeat(400) });
    for (let times = 0; times < 2; times++) {
      const items = await collect(old.reader);
      expect(items.filter(item => "error" in item)).toEqual([]);
      expect(sidsOf(items)).toEqual(sids);
      expect(items.every(item => (item as { session: { sid?: string } }).session.sid === item.sid)).toBe(
        true,
      );
    }
  });

  it("does not give what else is there, and goes on after what it cannot read", async () => {
    await old.addForeign?.();
    const sids = numbered(20);
    await saveMany(old.store, sids, {});
    await old.corrupt("sid-00007x");
    const items = await collect(old.reader);
    expect(sidsOf(items)).toEqual([...sids, "sid-00007x"].sort());
    const failed = items.filter(item => "error" in item);
    expect(failed).toEqual([{ sid: "sid-00007x", error: expect.any(Error) }]);
    const { error } = failed[0] as { error: Error };
    expect(error).toMatchObject({ code: "ERR_SESSION_SERIALIZE", cause: expect.any(Error) });
    // The error must not contain values of a session or its id, which is a credential.
    expect(error.message).not.toMatch(/ann|sid-0/);
  });

  it("reads while the site saves, creates and destroys sessions", async () => {
    const sids = numbered(600);
    await saveMany(old.store, sids, {});
    const leaving = sids.filter((_, index) => index % 3 === 0);
    const staying = sids.filter((_, index) => index % 3 !== 0);
    const found = new Set<string>();
    let changes: Promise<unknown> | undefined;
    for await (const item of old.reader) {
      expect((item as UnreadableSession).error).toBeUndefined();
      found.add(item.sid);
      changes ??= Promise.all([
        ...leaving.map(sid => settled(done => old.store.destroy(sid, done))),
        saveMany(old.store, staying.slice(0, 100), { again: true }),
        saveMany(old.store, ["new-1", "new-2"], {}),
      ]);
    }
    await changes;
    expect(staying.filter(sid => !found.has(sid))).toEqual([]);
    expect(sidsOf(await collect(old.reader))).toEqual(["new-1", "new-2", ...staying]);
  });

  it("gives nothing of an empty store", async () => {
    expect(await collect(old.reader)).toEqual([]);
  });
});
