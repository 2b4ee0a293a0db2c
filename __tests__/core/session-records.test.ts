import { internalsOf } from "../../lib/core/abstract-store.js";
import { digest } from "../../lib/core/hashed-ids.js";
import type { SessionRecord } from "../../lib/core/session-records.js";
import type { AbstractStore } from "../../lib/index.js";
import { backends, useBackend } from "../helpers/stores/backends.js";

const session = (data: object = {}, lifetime = 3_600_000) =>
  ({ cookie: { originalMaxAge: lifetime, path: "/" }, ...data }) as never;

async function recordsOf(store: AbstractStore): Promise<Record<string, SessionRecord>> {
  const found: [string, SessionRecord][] = [];
  for await (const page of internalsOf(store).records.all()) {
    for (const record of page) found.push([record.sidHash, record]);
  }
  return Object.fromEntries(found);
}

describe.each(backends)("the records of a store on $name", backend => {
  const createStore = useBackend(backend);
  const users = backend.hasUsers ? { user: (data: object) => (data as { user?: string }).user } : {};

  it("tell state, size, times and user without the session", async () => {
    let now = Date.now();
    const store = createStore({ ...users, now: () => now, touchAfter: 0 });
    await store.set("ended", session({}, 1000));
    await store.set("live", session({ user: "ada lovelace" }));
    await store.set("destroyed", session());
    await store.destroy("destroyed");
    const createdAt = now;
    now += 10_000;
    await store.touch("live", (await store.get("live")) as never);
    const { live, ended, destroyed } = Object.fromEntries(
      Object.values(await recordsOf(store)).map(record => [record.state, record]),
    );
    expect(live).toMatchObject({
      sidHash: digest("live"),
      createdAt,
      activeAt: now,
      lifetime: 3_600_000,
      expiresAt: now + 3_600_000,
      user: backend.hasUsers ? "ada%20lovelace" : undefined,
    });
    expect(live?.bytes).toBe(JSON.stringify(session({ user: "ada lovelace" })).length);
    expect(ended).toMatchObject({ sidHash: digest("ended"), deleteAt: createdAt + 61_000 });
    // The memory store keeps its tombstones separately.
    if (backend.name !== "memory")
      expect(destroyed).toMatchObject({ sidHash: digest("destroyed"), bytes: 0 });
    const { records } = internalsOf(store);
    expect(await records.decode(live as SessionRecord)).toMatchObject({ user: "ada lovelace" });
    expect(records.sidOf(live as SessionRecord)).toBe("live");
    expect(await records.find("live")).toMatchObject({ sidHash: digest("live"), state: "live" });
    expect(await records.find("nothing")).toBeUndefined();
    expect(records.formsOfUser("ada lovelace")).toEqual(["ada%20lovelace"]);
  });

  it("are removed if nobody has used them since they were read, for good", async () => {
    let now = Date.now();
    const store = createStore({ ...users, now: () => now, touchAfter: 0 });
    for (const sid of ["idle", "saved", "touched", "gone"]) await store.set(sid, session({ user: "ada" }));
    const loaded = Object.fromEntries(
      await Promise.all(["idle", "saved", "touched"].map(async sid => [sid, await store.get(sid)])),
    );
    const listed = await recordsOf(store);
    now += 1000;
    await store.set("saved", Object.assign(loaded.saved, { changed: true }));
    await store.touch("touched", loaded.touched);
    await store.destroy("gone");
    const { records } = internalsOf(store);
    const removed = await Promise.all(
      ["idle", "saved", "touched", "gone"].map(sid => records.remove(listed[digest(sid)] as SessionRecord)),
    );
    expect(removed).toEqual([true, false, false, false]);
    expect((await store.ids()).sort()).toEqual(["saved", "touched"]);
    // A slow request that had loaded the session before.
    await store.set("idle", Object.assign(loaded.idle, { late: true }));
    expect(await store.get("idle")).toBeNull();
    if (backend.hasUsers) expect(await store.countByUser("ada")).toBe(2);
  });

  it("are all removed by clear, which counts them", async () => {
    const store = createStore({});
    await Promise.all(Array.from({ length: 30 }, (_, index) => store.set(`sid-${index}`, session())));
    let count = 0;
    await internalsOf(store).records.clear(new AbortController().signal, removed => {
      count += removed;
    });
    expect([count, await store.length()]).toEqual([30, 0]);
    await expect(
      internalsOf(store).records.clear(AbortSignal.abort(new Error("stop")), () => {}),
    ).rejects.toThrow("stop");
  });

  it("are found by what listings show where ids are hashed, and by users' digests", async () => {
    const store = createStore({ ...users, hashIds: { secret: "secret" } });
    await store.set("sid", session({ user: "ada" }));
    const { records } = internalsOf(store);
    const [record] = Object.values(await recordsOf(store)) as [SessionRecord];
    expect(records.sidOf(record)).toBe(record.sidHash);
    expect(await records.find(record.sidHash)).toMatchObject({ sidHash: record.sidHash });
    expect(await records.find("sid")).toMatchObject({ sidHash: record.sidHash });
    if (backend.hasUsers) expect(records.formsOfUser("ada")).toEqual([record.user]);
    expect(() => records.formsOfUser("")).toThrow(TypeError);
  });
});
