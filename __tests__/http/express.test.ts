import type { Session, SessionData } from "express-session";
import type { AbstractStore, ConflictEvent } from "../../lib/index.js";
import {
  type AppOptions,
  type AppRequest,
  Browser,
  beginReply,
  createApp,
  type FrameworkName,
  Gate,
  type Handler,
  meeting,
  setCookieOf,
  settled,
} from "../helpers/apps/app.js";
import { advance, stopClock } from "../helpers/stopped-clock.js";
import { type Backend, backends, file, useBackend } from "../helpers/stores/backends.js";

const MINUTE = 60_000;

const combinations: { framework: FrameworkName; backend: Backend }[] = [
  ...backends.map(backend => ({ framework: "Express 5" as const, backend })),
  { framework: "Express 4", backend: file },
  { framework: "connect", backend: file },
];

afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

/** Counts what the store writes to its backend: saved sessions, touches and removals. */
function countWrites(store: AbstractStore): () => { saves: number; touches: number; removals: number } {
  const primitives = store as unknown as Record<"_write" | "_touch" | "_remove", () => unknown>;
  const saves = jest.spyOn(primitives, "_write");
  const touches = jest.spyOn(primitives, "_touch");
  const removals = jest.spyOn(primitives, "_remove");
  return () => ({
    saves: saves.mock.calls.length,
    touches: touches.mock.calls.length,
    removals: removals.mock.calls.length,
  });
}

function conflictsOf(store: AbstractStore): ConflictEvent[] {
  const conflicts: ConflictEvent[] = [];
  store.on("conflict", conflict => conflicts.push(conflict));
  return conflicts;
}

const save = (req: AppRequest) => settled(done => req.session.save(done));

/** A route where `count` requests wait for each other, with the session loaded, and then change what their query says. */
function setTogether(count: number): Record<string, Handler> {
  const meet = meeting(count);
  return {
    "POST /set-together": async (req, params) => {
      await meet();
      Object.assign(req.session, Object.fromEntries(params));
    },
  };
}

/** What `count` requests to set-together change: each a key of its own. */
function changesOf(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`key${index}`, `${index}`]));
}

/** A request that loads its session, does `begin`, lets others go first, and then does `end`. */
function slowRequest(end: Handler, begin: Handler = () => {}) {
  const gate = new Gate();
  const slow: Handler = async (...args) => {
    begin(...args);
    await gate.pass();
    return end(...args);
  };
  return {
    routes: { "POST /slow": slow },
    /** Sends the request, and does `meanwhile` while it is held; returns its answer. */
    async during(browser: Browser, meanwhile: () => unknown) {
      const answer = browser.send("POST /slow");
      await gate.reached;
      await meanwhile();
      gate.open();
      return await answer;
    },
  };
}

const readOnly: Handler = req => req.session.user;
const change: Handler = req => {
  req.session.slow = true;
};

/** The head of the answer is sent before the session is changed: when the user was there is known by then. */
const startDownload: Handler = (_req, _params, res) => beginReply(res);

describe.each(combinations)("$framework, sessions in $backend.name", ({ framework, backend }) => {
  const createStore = useBackend(backend);

  const errors: unknown[] = [];

  // express-session saves at the end of a request, when an error cannot change the answer any more.
  afterEach(() => expect(errors.splice(0)).toEqual([]));

  const openApp = (store: AbstractStore, options: AppOptions = {}) =>
    createApp(store, { framework, onError: error => errors.push(error), ...options });

  /** A browser that is signed in as ada. */
  async function signIn(store: AbstractStore, options: AppOptions = {}): Promise<Browser> {
    const browser = new Browser(openApp(store, options));
    await browser.send("POST /sign-in?user=ada");
    return browser;
  }

  describe("signing in and out", () => {
    it("knows who signed in, in every later request of that browser and in no other", async () => {
      const ada = await signIn(createStore());
      const bob = new Browser(ada.app);
      await bob.send("POST /sign-in?user=bob");
      expect(await ada.fields()).toEqual({ user: "ada" });
      expect(await bob.fields()).toEqual({ user: "bob" });
      expect(await new Browser(ada.app).fields()).toEqual({});
    });

    it("keeps what requests put into the session one after the other", async () => {
      const ada = await signIn(createStore());
      await ada.send("POST /set?tea=1");
      await ada.send("POST /set?mug=2&tea=3");
      expect(await ada.fields()).toEqual({ user: "ada", tea: "3", mug: "2" });
    });

    it("forgets a session that signed out, also for who still has its cookie", async () => {
      const store = createStore();
      const ada = await signIn(store);
      const stolen = ada.clone();
      await ada.send("POST /sign-out");
      expect(await stolen.fields()).toEqual({});
      expect(await store.length()).toBe(0);
    });

    it("lets the user sign in again after signing out", async () => {
      const ada = await signIn(createStore());
      const earlier = ada.clone();
      await ada.send("POST /sign-out");
      await ada.send("POST /sign-in?user=ada");
      expect(await ada.fields()).toEqual({ user: "ada" });
      expect(await earlier.fields()).toEqual({});
    });

    it("does not take a cookie that somebody made up for a session", async () => {
      const store = createStore();
      const ada = await signIn(store);
      const [sid] = await store.ids();
      for (const cookie of [`connect.sid=${sid}`, `connect.sid=s:${sid}.signature`]) {
        expect(await new Browser(ada.app, cookie).fields()).toEqual({});
      }
    });
  });

  describe("regenerate", () => {
    it("gives the session a new id: the new one is alive, the old one dead", async () => {
      const store = createStore();
      const browser = new Browser(openApp(store));
      await browser.send("POST /set?tea=1");
      const planted = browser.clone();
      await browser.send("POST /sign-in?user=ada");
      expect(browser.cookie).not.toBe(planted.cookie);
      expect(await browser.fields()).toEqual({ user: "ada" });
      expect(await planted.fields()).toEqual({});
      expect(await store.length()).toBe(1);
    });

    it("leaves the old session dead when a request of it that is still running saves", async () => {
      const store = createStore();
      const { routes, during } = slowRequest(change);
      const browser = new Browser(openApp(store, { routes }));
      await browser.send("POST /set?tea=1");
      const planted = browser.clone();
      await during(planted, () => browser.send("POST /sign-in?user=ada"));
      expect(await planted.fields()).toEqual({});
      expect(await browser.fields()).toEqual({ user: "ada" });
      expect(await store.length()).toBe(1);
    });
  });

  describe("reload", () => {
    it("shows what another request changed, and saves on top of that without a conflict", async () => {
      const store = createStore();
      const conflicts = conflictsOf(store);
      const { routes, during } = slowRequest(async req => {
        const before = req.session.tea;
        await settled(done => req.session.reload(done));
        const after = req.session.tea;
        req.session.mug = 1;
        return { before, after };
      });
      const ada = await signIn(store, { routes });
      await ada.send("POST /set?tea=1");
      const { body } = await during(ada, () => ada.send("POST /set?tea=2"));
      expect(body).toEqual({ before: "1", after: "2" });
      expect(await ada.fields()).toEqual({ user: "ada", tea: "2", mug: 1 });
      expect(conflicts).toEqual([]);
    });

    it("fails for a session that was destroyed meanwhile, and does not bring it back", async () => {
      const { routes, during } = slowRequest(async req => {
        const error = await settled(done => req.session.reload(done)).catch(error => error);
        req.session.mug = 1;
        return error.message;
      });
      const ada = await signIn(createStore(), { routes });
      const { body } = await during(ada.clone(), () => ada.send("POST /sign-out"));
      expect(body).toBe("failed to load session");
      expect(await ada.fields()).toEqual({});
    });
  });

  describe("cookie.maxAge", () => {
    it("ends a session after that time without a request, to the millisecond", async () => {
      stopClock();
      const ada = await signIn(createStore({ touchAfter: 0 }), { cookie: { maxAge: MINUTE } });
      advance(MINUTE - 1);
      // A request starts the time anew.
      expect(await ada.fields()).toEqual({ user: "ada" });
      advance(MINUTE - 1);
      expect(await ada.fields()).toEqual({ user: "ada" });
      advance(MINUTE);
      expect(await ada.fields()).toEqual({});
    });

    it("is the least time that a session lives after a request, also where touches are skipped", async () => {
      stopClock();
      const ada = await signIn(createStore(), { cookie: { maxAge: MINUTE } });
      for (const pause of [1000, 2000, 1500, MINUTE - 1, MINUTE - 1]) {
        advance(pause);
        expect(await ada.fields()).toEqual({ user: "ada" });
      }
      advance(2 * MINUTE);
      expect(await ada.fields()).toEqual({});
    });

    it("can be changed by the application for one session", async () => {
      stopClock();
      const routes = {
        "POST /remember-me": (req: AppRequest) => {
          req.session.cookie.maxAge = 3 * MINUTE;
          req.session.remembered = true;
        },
      };
      const ada = await signIn(createStore({ touchAfter: 0 }), { routes, cookie: { maxAge: MINUTE } });
      await ada.send("POST /remember-me");
      advance(3 * MINUTE - 1);
      expect(await ada.fields()).toEqual({ user: "ada", remembered: true });
      advance(3 * MINUTE);
      expect(await ada.fields()).toEqual({});
    });

    it("does not let a request bring back a session that it touches after its end", async () => {
      stopClock();
      const { routes, during } = slowRequest(readOnly);
      const ada = await signIn(createStore({ touchAfter: 0 }), { routes, cookie: { maxAge: MINUTE } });
      await during(ada, () => advance(MINUTE));
      expect(await ada.fields()).toEqual({});
    });

    it("lets a request that was running at the end of its session still save it", async () => {
      stopClock();
      const { routes, during } = slowRequest(change);
      const ada = await signIn(createStore({ touchAfter: 0 }), { routes, cookie: { maxAge: MINUTE } });
      await during(ada, () => advance(MINUTE));
      expect(await ada.fields()).toEqual({ user: "ada", slow: true });
    });
  });

  describe("a change of cookie.maxAge", () => {
    const setMaxAge = (maxAge: number, fields = {}) => ({
      "POST /max-age": (req: AppRequest) => {
        req.session.cookie.maxAge = maxAge;
        Object.assign(req.session, fields);
      },
    });

    it.each([
      ["longer", 3 * MINUTE],
      ["shorter", MINUTE / 2],
    ])("takes effect if it is all that the request changes, and stays: %s", async (_name, maxAge) => {
      stopClock();
      const routes = setMaxAge(maxAge);
      const ada = await signIn(createStore({ touchAfter: 0 }), { routes, cookie: { maxAge: MINUTE } });
      await ada.send("POST /max-age");
      advance(maxAge - 1);
      expect(await ada.fields()).toEqual({ user: "ada" });
      advance(maxAge - 1);
      expect(await ada.fields()).toEqual({ user: "ada" });
      advance(maxAge);
      expect(await ada.fields()).toEqual({});
    });

    it.each([
      ["changes something else and is saved later", change],
      ["only reads the session", readOnly],
    ])("is not undone by a parallel request that %s", async (_name, end) => {
      stopClock();
      const slow = slowRequest(end);
      const routes = { ...slow.routes, ...setMaxAge(MINUTE, { remember: false }) };
      const ada = await signIn(createStore({ touchAfter: 0 }), { routes, cookie: { maxAge: 60 * MINUTE } });
      await slow.during(ada.clone(), () => ada.send("POST /max-age"));
      expect(await ada.fields()).toMatchObject({ user: "ada", remember: false });
      advance(MINUTE);
      expect(await ada.fields()).toEqual({});
    });

    it("is not undone by a parallel request that changed something else and was saved before", async () => {
      stopClock();
      const slow = slowRequest(req => {
        req.session.cookie.maxAge = MINUTE;
        req.session.remember = false;
      });
      const store = createStore({ touchAfter: 0 });
      const ada = await signIn(store, { routes: slow.routes, cookie: { maxAge: 60 * MINUTE } });
      await slow.during(ada.clone(), () => ada.send("POST /set?tea=1"));
      expect(await ada.fields()).toEqual({ user: "ada", remember: false, tea: "1" });
      advance(MINUTE);
      expect(await ada.fields()).toEqual({});
    });

    it("to 0 ends the session", async () => {
      const store = createStore();
      const ada = await signIn(store, { routes: setMaxAge(0, { left: true }) });
      const stolen = ada.clone();
      await ada.send("POST /max-age");
      expect(await stolen.fields()).toEqual({});
      expect(await store.length()).toBe(0);
    });
  });

  // With `rolling` express-session touches the cookie when the answer begins, else when it ends.
  describe.each([true, false])("an answer that takes long, rolling: %s", rolling => {
    it("does not end a session that others keep alive, whose host's clock is 50 ms ahead", async () => {
      stopClock();
      const { routes, during } = slowRequest(change, startDownload);
      const ada = await signIn(createStore({ touchAfter: 0 }), {
        routes,
        rolling,
        cookie: { maxAge: MINUTE },
      });
      advance(50);
      await ada.send("GET /");
      advance(-50);
      await during(ada.clone(), async () => {
        for (let request = 1; request <= 3; request++) {
          advance(MINUTE / 2);
          await ada.send(`POST /set?tea=${request}`);
        }
      });
      expect(await ada.fields()).toEqual({ user: "ada", tea: "3", slow: true });
    });

    it("takes nothing back of the time that others have kept the session alive", async () => {
      stopClock();
      const { routes, during } = slowRequest(change, startDownload);
      const ada = await signIn(createStore({ touchAfter: 0 }), {
        routes,
        rolling,
        cookie: { maxAge: MINUTE },
      });
      await during(ada.clone(), async () => {
        advance(MINUTE / 2);
        await ada.send("GET /");
      });
      advance(MINUTE - 1);
      expect(await ada.fields()).toEqual({ user: "ada", slow: true });
    });

    it("ends no session early of which a touch was skipped meanwhile", async () => {
      stopClock();
      const { routes, during } = slowRequest(change, startDownload);
      const ada = await signIn(createStore({ touchAfter: 30 }), {
        routes,
        rolling,
        cookie: { maxAge: 10 * MINUTE },
      });
      await during(ada.clone(), async () => {
        advance(25_000);
        await ada.send("GET /");
        advance(475_000);
      });
      advance(124_999);
      expect(await ada.fields()).toEqual({ user: "ada", slow: true });
    });

    if (!rolling) return;

    it("counts from its beginning: who does not come back is signed out by then", async () => {
      stopClock();
      const { routes, during } = slowRequest(change, startDownload);
      const store = createStore({ touchAfter: 0 });
      const ada = await signIn(store, { routes, rolling, cookie: { maxAge: MINUTE } });
      advance(1000);
      await during(ada.clone(), () => advance(MINUTE / 2));
      advance(MINUTE / 2 - 1);
      expect(await store.length()).toBe(1);
      advance(1);
      expect(await ada.fields()).toEqual({});
    });
  });

  describe("rolling", () => {
    it.each([
      ["true: the cookie is sent anew with every answer", true],
      ["false: the cookie is sent only with the sign-in", false],
    ])("%s, while the session lives on in the store", async (_name, rolling) => {
      stopClock();
      const ada = await signIn(createStore({ touchAfter: 0 }), { rolling, cookie: { maxAge: MINUTE } });
      advance(MINUTE - 1);
      const setCookie = setCookieOf(await ada.send("GET /"));
      const expires = new Date(Date.now() + MINUTE).toUTCString();
      if (rolling) expect(setCookie).toContain(`Expires=${expires}`);
      else expect(setCookie).toBeUndefined();
      advance(MINUTE - 1);
      expect(await ada.fields()).toEqual({ user: "ada" });
    });
  });

  describe("resave", () => {
    it.each([
      { resave: true, writes: { saves: 3, touches: 0 } },
      { resave: false, writes: { saves: 0, touches: 3 } },
    ])("$resave: requests that change nothing cost $writes", async ({ resave, writes }) => {
      const store = createStore({ touchAfter: 0 });
      const ada = await signIn(store, { resave });
      const written = countWrites(store);
      for (let view = 0; view < 3; view++) expect(await ada.fields()).toEqual({ user: "ada" });
      expect(written()).toMatchObject(writes);
    });

    it.each([true, false])("%s: a request that changes nothing undoes no other's change", async resave => {
      const { routes, during } = slowRequest(readOnly);
      const ada = await signIn(createStore(), { resave, routes });
      await ada.send("POST /set?tea=1&mug=1");
      await during(ada, () => ada.send("POST /set?tea=2"));
      expect(await ada.fields()).toEqual({ user: "ada", tea: "2", mug: "1" });
    });
  });

  describe("saveUninitialized", () => {
    it("true: a visitor gets a session with the first answer", async () => {
      const store = createStore();
      const visitor = new Browser(openApp(store, { saveUninitialized: true }));
      expect(await visitor.fields()).toEqual({});
      const { cookie } = visitor;
      expect(cookie).toBeDefined();
      expect(await store.length()).toBe(1);
      await visitor.send("POST /set?tea=1");
      expect(await visitor.fields()).toEqual({ tea: "1" });
      expect(visitor.cookie).toBe(cookie);
      expect(await store.length()).toBe(1);
    });

    it("false: a visitor gets a session with the first change, and until then nothing is written", async () => {
      const store = createStore();
      const written = countWrites(store);
      const visitor = new Browser(openApp(store, { saveUninitialized: false }));
      expect(await visitor.fields()).toEqual({});
      expect(visitor.cookie).toBeUndefined();
      expect(written()).toEqual({ saves: 0, touches: 0, removals: 0 });
      await visitor.send("POST /set?tea=1");
      expect(await visitor.fields()).toEqual({ tea: "1" });
      expect(await store.length()).toBe(1);
    });
  });

  describe("unset", () => {
    const unsetSession: Handler = req => {
      Object.assign(req, { session: null });
    };

    it.each([
      { unset: "destroy" as const, left: {} },
      { unset: "keep" as const, left: { user: "ada" } },
    ])("$unset: a session that the application sets to null leaves $left", async ({ unset, left }) => {
      const store = createStore();
      const ada = await signIn(store, { unset, routes: { "POST /unset": unsetSession } });
      await ada.send("POST /unset");
      expect(await ada.fields()).toEqual(left);
      expect(await store.length()).toBe(Object.keys(left).length);
    });
  });

  describe("a logout while a slow request runs", () => {
    const changeSaveChange: Handler = async req => {
      req.session.slow = 1;
      await save(req);
      req.session.slow = 2;
    };

    it.each([
      ["changes the session", change, false],
      ["changes the session, saves it, and changes it again", changeSaveChange, false],
      ["only reads the session", readOnly, false],
      ["only reads the session, which is saved all the same (resave)", readOnly, true],
    ])("stays a logout when that request %s", async (_name, end, resave) => {
      const { routes, during } = slowRequest(end);
      const store = createStore({ touchAfter: 0 });
      const ada = await signIn(store, { routes, resave });
      const stolen = ada.clone();
      await during(stolen, () => ada.send("POST /sign-out"));
      expect(await stolen.fields()).toEqual({});
      expect(await store.length()).toBe(0);
    });

    it("is reported to the application as a conflict, without the sid", async () => {
      const { routes, during } = slowRequest(change);
      const store = createStore();
      const conflicts = conflictsOf(store);
      const ada = await signIn(store, { routes });
      const [sid] = await store.ids();
      await during(ada.clone(), () => ada.send("POST /sign-out"));
      expect(conflicts).toEqual([{ reason: "gone", keys: [], sidHash: expect.any(String) }]);
      expect(conflicts[0]?.sidHash).not.toContain(sid);
    });

    it("stays a logout when the session began in that very request", async () => {
      const gate = new Gate();
      const routes = {
        "POST /begin": async (req: AppRequest) => {
          req.session.user = "ada";
          await save(req);
          await gate.pass();
          req.session.welcome = true;
        },
      };
      const store = createStore();
      const browser = new Browser(openApp(store, { routes }));
      const begin = browser.send("POST /begin");
      await gate.reached;
      await store.clear();
      gate.open();
      await begin;
      expect(browser.cookie).toBeDefined();
      expect(await browser.fields()).toEqual({});
    });
  });

  describe("parallel requests", () => {
    it.each([2, 20])("keep all that %i of them change in one session", async count => {
      // The saves go in turns, which takes a slow engine on a busy machine its time.
      const store = createStore({ timeoutMs: 20_000 });
      const conflicts = conflictsOf(store);
      const ada = await signIn(store, { routes: setTogether(count) });
      const changes = changesOf(count);
      await Promise.all(
        Object.entries(changes).map(([key, value]) => ada.send(`POST /set-together?${key}=${value}`)),
      );
      expect(await ada.fields()).toEqual({ user: "ada", ...changes });
      // All but the first to save met what others had changed.
      expect(conflicts).toHaveLength(count - 1);
      for (const conflict of conflicts) expect(conflict).toMatchObject({ reason: "merged", keys: [] });
    });

    it("keep what others changed before and between two saves of one of them", async () => {
      const gates = [new Gate(), new Gate()] as const;
      const routes = {
        "POST /save-twice": async (req: AppRequest) => {
          await gates[0].pass();
          req.session.first = true;
          await save(req);
          await gates[1].pass();
          req.session.second = true;
        },
      };
      const ada = await signIn(createStore(), { routes });
      await ada.send("POST /set?tea=1&mug=1");
      const saving = ada.send("POST /save-twice");
      await gates[0].reached;
      await ada.send("POST /set?tea=2");
      gates[0].open();
      await gates[1].reached;
      expect(await ada.fields()).toEqual({ user: "ada", tea: "2", mug: "1", first: true });
      await ada.send("POST /set?mug=3");
      gates[1].open();
      await saving;
      expect(await ada.fields()).toEqual({ user: "ada", tea: "2", mug: "3", first: true, second: true });
    });

    it("keep nothing of each other's sessions when many sign in at once", async () => {
      const app = openApp(createStore());
      const names = Array.from({ length: 20 }, (_, index) => `user${index}`);
      const users = await Promise.all(
        names.map(async name => {
          const browser = new Browser(app);
          await browser.send(`POST /sign-in?user=${name}`);
          return browser.fields();
        }),
      );
      expect(users).toEqual(names.map(user => ({ user })));
    });
  });

  describe("page views that change nothing", () => {
    it("cost no write within touchAfter, and one touch afterwards", async () => {
      stopClock();
      const store = createStore({ touchAfter: 60 });
      const ada = await signIn(store, { cookie: { maxAge: 10 * MINUTE } });
      const written = countWrites(store);
      for (let view = 0; view < 20; view++) await ada.send("GET /");
      advance(MINUTE - 1);
      await ada.send("GET /");
      expect(written()).toEqual({ saves: 0, touches: 0, removals: 0 });
      advance(1);
      for (let view = 0; view < 20; view++) await ada.send("GET /");
      expect(written()).toEqual({ saves: 0, touches: 1, removals: 0 });
    });

    it("cost one touch each with touchAfter: 0", async () => {
      const store = createStore({ touchAfter: 0 });
      const ada = await signIn(store, { cookie: { maxAge: 10 * MINUTE } });
      const written = countWrites(store);
      for (let view = 0; view < 20; view++) await ada.send("GET /");
      expect(written()).toEqual({ saves: 0, touches: 20, removals: 0 });
    });

    it("cost nothing at all with disableTouch", async () => {
      const store = createStore({ disableTouch: true });
      const ada = await signIn(store, { cookie: { maxAge: 10 * MINUTE } });
      const written = countWrites(store);
      for (let view = 0; view < 20; view++) await ada.send("GET /");
      expect(written()).toEqual({ saves: 0, touches: 0, removals: 0 });
    });
  });

  describe("a record without a cookie", () => {
    it("gets express-session's error from inflating it, and is left as it is", async () => {
      const store = createStore();
      const ada = await signIn(store);
      const [sid = ""] = await store.ids();
      await store.set(sid, { user: "ada" } as unknown as Session & SessionData);
      const { status, body } = await ada.attempt("GET /");
      expect(status).toBe(500);
      expect(body).toMatchObject({ name: "TypeError", message: expect.stringContaining("expires") });
      expect(await store.get(sid)).toEqual({ user: "ada" });
      expect(errors.splice(0)).toHaveLength(1);
    });
  });

  if (!backend.persistent) return;

  describe("a restart", () => {
    it("leaves users signed in, with all that their sessions hold", async () => {
      const before = createStore();
      const ada = await signIn(before, { cookie: { maxAge: MINUTE } });
      await ada.send("POST /set?tea=1");
      await before.close();
      const restarted = ada.clone(openApp(createStore(), { cookie: { maxAge: MINUTE } }));
      expect(await restarted.fields()).toEqual({ user: "ada", tea: "1" });
      await restarted.send("POST /set?mug=2");
      expect(await restarted.fields()).toEqual({ user: "ada", tea: "1", mug: "2" });
    });

    it("does not bring back who signed out before it", async () => {
      const before = createStore();
      const ada = await signIn(before);
      const stolen = ada.clone();
      await ada.send("POST /sign-out");
      await before.close();
      expect(await stolen.clone(openApp(createStore())).fields()).toEqual({});
    });
  });

  describe("two applications with different prefixes on one backend", () => {
    it("share no session, even with the same cookie", async () => {
      const shop = await signIn(createStore({ prefix: "shop:" }));
      const admin = shop.clone(openApp(createStore({ prefix: "shop:admin:" })));
      expect(await admin.fields()).toEqual({});
      await admin.send("POST /set?role=clerk");
      expect(await admin.fields()).toEqual({ role: "clerk" });
      expect(await shop.fields()).toEqual({ user: "ada" });
    });

    it("list and clear only their own sessions", async () => {
      const shopStore = createStore({ prefix: "shop:" });
      const adminStore = createStore({ prefix: "shop:admin:" });
      const shop = await signIn(shopStore);
      const admin = await signIn(adminStore);
      expect(await shopStore.length()).toBe(1);
      await shopStore.clear();
      expect(await shop.fields()).toEqual({});
      expect(await admin.fields()).toEqual({ user: "ada" });
      expect(await adminStore.length()).toBe(1);
    });
  });

  describe("two servers of one application", () => {
    it("keep what parallel requests through both change", async () => {
      const routes = setTogether(10);
      const ada = await signIn(createStore({ timeoutMs: 20_000 }), { routes });
      const other = ada.clone(openApp(createStore({ timeoutMs: 20_000 }), { routes }));
      const changes = changesOf(10);
      await Promise.all(
        Object.entries(changes).map(([key, value], index) =>
          (index % 2 === 0 ? ada : other).send(`POST /set-together?${key}=${value}`),
        ),
      );
      for (const server of [ada, other]) {
        expect(await server.fields()).toEqual({ user: "ada", ...changes });
      }
    });

    it("see a logout through the other at once", async () => {
      const ada = await signIn(createStore());
      const other = ada.clone(openApp(createStore()));
      expect(await other.fields()).toEqual({ user: "ada" });
      await ada.send("POST /sign-out");
      expect(await other.fields()).toEqual({});
    });
  });
});
