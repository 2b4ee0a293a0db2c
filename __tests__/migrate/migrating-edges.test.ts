import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import session, { type SessionData } from "express-session";
import { plain } from "../../lib/conformance/sessions.js";
import { FileStore } from "../../lib/file.js";
import { MemoryStore } from "../../lib/memory.js";
import { MigratingStore, type Stage } from "../../lib/migrate.js";

const user = (each: object) => (each as { user?: string }).user;
const values = (found: SessionData | null) => {
  const { cookie: _cookie, ...fields } = found ?? ({} as SessionData);
  return fields;
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "express-session-stores-edges-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** The two stores, in memory, and the stages of a site. */
function openStores() {
  const from = new session.MemoryStore();
  const to = new MemoryStore({ user });
  return { from, to, at: (stage: Stage) => new MigratingStore({ from, to, stage }) };
}

describe("the way back", () => {
  it("leaves a session in the old store that the new one cannot read", async () => {
    const from = new session.MemoryStore();
    const path = join(folder, "encrypted.lmdb");
    const site = new FileStore({ path, encryption: { keys: [randomBytes(32)] } });
    await new MigratingStore({ from, to: site, stage: "to-first" }).set("sid", plain({ user: "ann" }));
    await site.close();
    const to = new FileStore({ path });
    const store = new MigratingStore({ from, to, stage: "to-first" });
    for await (const _count of store.copyBack()) {
      // The loop covers every session.
    }
    await to.close();
    expect(Object.keys((from as unknown as { sessions: object }).sessions)).toEqual(["sid"]);
  });

  it("has the change of a request at the next stage that ran beside", async () => {
    const { at } = openStores();
    const [one, other] = [at("from-first"), at("to-first")];
    await other.set("sid", plain({ user: "ann" }));
    const slow = (await one.get("sid")) as SessionData;
    await other.set("sid", Object.assign((await other.get("sid")) as SessionData, { cart: 1 }));
    await one.set("sid", Object.assign(slow, { theme: "dark" }));
    const expected = { user: "ann", cart: 1, theme: "dark" };
    expect(values(await one.get("sid"))).toEqual(expected);
    await one.set("sid", Object.assign((await one.get("sid")) as SessionData, { more: 1 }));
    expect(values(await other.get("sid"))).toEqual({ ...expected, more: 1 });
  });
});

it("an old store whose socket is gone fails the request: nobody is taken for signed out", async () => {
  const { from, at } = openStores();
  from.set("sid", plain({ user: "ann" }));
  from.get = (_sid, done) => {
    connect(join(folder, "none.sock")).on("error", done);
  };
  for (const stage of ["from", "from-first", "to-first"] as const) {
    await expect(at(stage).get("sid")).rejects.toThrow("The old store (`from`) failed in `get`");
  }
});

it("destroyByUser ends a session that a request moves meanwhile", async () => {
  const { from, to, at } = openStores();
  from.set("sid", plain({ user: "ann" }));
  const end = to.destroyByUser.bind(to);
  jest.spyOn(to, "destroyByUser").mockImplementationOnce(async (...args) => {
    const count = await end(...args);
    await at("to-first").get("sid");
    return count;
  });
  expect(await at("to-first").destroyByUser("ann")).toBe(1);
  expect(await at("to-first").get("sid")).toBeNull();
});

describe("clear", () => {
  it.each(["from", "from-first"] as const)("is final for a request that has a session at %s", async stage => {
    const { from, at } = openStores();
    from.set("sid", plain({ user: "ann" }));
    const store = at(stage);
    const slow = (await store.get("sid")) as SessionData;
    await store.clear();
    await store.set("sid", Object.assign(slow, { slow: true }));
    expect(await store.get("sid")).toBeNull();
  });

  it("is final for a request that moves a session", async () => {
    const { from, at } = openStores();
    from.set("sid", plain({ user: "ann" }));
    const get = from.get.bind(from);
    let answer = () => {};
    from.get = (sid, done) =>
      get(sid, (error, found) => {
        answer = () => done(error, found);
      });
    const store = at("to-first");
    const slow = store.get("sid");
    await new Promise(resolve => setTimeout(resolve, 10));
    await store.clear();
    answer();
    expect(await slow).toBeNull();
  });
});

it.each(["from", "from-first", "to-first", "to"] as const)(
  "an id that is used again after a sign-out has its new session at %s",
  async stage => {
    const store = openStores().at(stage);
    await store.set("sid", plain({ user: "ann" }));
    const slow = (await store.get("sid")) as SessionData;
    await store.destroy("sid");
    await store.set("sid", plain({ user: "bob" }));
    expect(await store.get("sid")).toMatchObject({ user: "bob" });
    await store.destroy("sid");
    await store.set("sid", slow);
    expect(await store.get("sid")).toBeNull();
  },
);

it("refuses two stores with one prefix in one file", () => {
  const path = join(folder, "one.lmdb");
  const from = new FileStore({ path });
  const to = new FileStore({ path, encryption: { keys: [randomBytes(32)] } });
  expect(() => new MigratingStore({ from, to, stage: "from" })).toThrow("another prefix");
});

it.each<Stage>(["from", "from-first", "to-first", "to"])(
  "at %s a Session that is made of a spread of what get returned is the one that was loaded",
  async stage => {
    const [from, to] = [new MemoryStore(), new MemoryStore()];
    const store = new MigratingStore({ from, to, stage });
    await store.set("sid", plain({ kept: 1, gone: 1 }));
    const req = { sessionID: "sid", sessionStore: store };
    const found = { ...((await store.get("sid")) as SessionData) };
    const loaded = store.createSession(req as unknown as Parameters<typeof store.createSession>[0], found);
    delete (loaded as { gone?: number }).gone;
    await store.set("sid", loaded);
    expect(values(await store.get("sid"))).toEqual({ kept: 1 });
    await Promise.all([from.close(), to.close()]);
  },
);
