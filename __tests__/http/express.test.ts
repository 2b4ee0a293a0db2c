import type { Session, SessionData } from "express-session";
import { Browser, type Handler, setCookieOf, settled } from "../helpers/apps/app.js";
import {
  change,
  conflictsOf,
  countWrites,
  describeApps,
  readOnly,
  slowRequest,
} from "../helpers/apps/frameworks.js";
import { advance, stopClock } from "../helpers/stopped-clock.js";

const MINUTE = 60_000;

describeApps(({ createStore, openApp, signIn, errors }) => {
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

    it("forgets a session that signed out, also for a client that still has its cookie", async () => {
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

    it("does not accept a cookie that somebody made up", async () => {
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
});
