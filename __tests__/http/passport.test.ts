import type { RequestListener } from "node:http";
import express, { type NextFunction, type Request, type Response } from "express";
import session from "express-session";
import { Passport } from "passport";
import { Strategy } from "passport-local";
import type { AbstractStore, ConflictEvent } from "../../lib/index.js";
import { Browser, Gate, settled } from "../helpers/apps/app.js";
import { advance, stopClock } from "../helpers/stopped-clock.js";
import { backends, useBackend } from "../helpers/stores/backends.js";

/*
 * Passport signs a user in with a new session. It regenerates, and may copy the old session with its cookie into the
 * new one. It saves explicitly, so that the page after the redirect finds the user signed in.
 */

const MINUTE = 60_000;
const TOUCH_AFTER_S = 30;

interface User {
  name: string;
}

function createPassport() {
  const passport = new Passport();
  passport.use(
    new Strategy((username, password, done) => done(null, password === "right" ? { name: username } : false)),
  );
  passport.serializeUser((user, done) => done(null, (user as User).name));
  passport.deserializeUser((name, done) => done(null, { name }));
  return passport;
}

type Fields = Record<string, unknown>;
const fieldsOf = (req: Request) => req.session as unknown as Fields;

interface AppOptions {
  keepSessionInfo: boolean;
  /** The route `/slow` waits here, with its session loaded. */
  gate?: Gate;
}

function createApp(store: AbstractStore, { keepSessionInfo, gate }: AppOptions): RequestListener {
  const passport = createPassport();
  const app = express();
  const cookie = { maxAge: 10 * MINUTE };
  app.use(session({ secret: "keyboard cat", resave: false, saveUninitialized: false, store, cookie }));
  app.use(passport.session());
  app.get("/", (req, res) => {
    const { cookie: _cookie, passport: _passport, ...fields } = fieldsOf(req);
    res.json({ ...fields, user: (req.user as User | undefined)?.name });
  });
  app.post("/set", (req, res) => {
    Object.assign(req.session, req.query);
    res.json(null);
  });
  app.post("/sign-in", passport.authenticate("local", { keepSessionInfo }), async (req, res) => {
    // The session as the redirected request finds it, which may arrive before this request ends.
    res.json(await store.get(req.sessionID));
  });
  app.post("/sign-out", async (req, res) => {
    await settled(done => req.logOut({ keepSessionInfo }, done));
    res.json(null);
  });
  app.post("/slow", async (req, res) => {
    await gate?.pass();
    fieldsOf(req).slow = true;
    await settled(done => req.session.save(done));
    fieldsOf(req).slow = "twice";
    res.json(null);
  });
  app.use((error: Error, _req: Request, res: Response, _next: NextFunction) => {
    res.status(500).json(error.message);
  });
  return app as unknown as RequestListener;
}

const SIGN_IN = "POST /sign-in?username=ada&password=right";

beforeEach(stopClock);
afterEach(() => {
  jest.useRealTimers();
});

describe.each(backends)("Passport, sessions in $name", backend => {
  const createStore = useBackend(backend);
  let store: AbstractStore;
  let conflicts: ConflictEvent[];

  beforeEach(() => {
    store = createStore({ touchAfter: TOUCH_AFTER_S });
    conflicts = [];
    store.on("conflict", conflict => conflicts.push(conflict));
  });

  /** A browser of a visitor who is not signed in, with a cart in the session. */
  async function visit(options: AppOptions): Promise<Browser> {
    const browser = new Browser(createApp(store, options));
    await browser.send("POST /set?cart=tea");
    return browser;
  }

  describe.each([true, false])("keepSessionInfo: %s", keepSessionInfo => {
    const kept = keepSessionInfo ? { cart: "tea" } : {};

    it("logIn stores the session of the user before it calls back", async () => {
      const ada = await visit({ keepSessionInfo });
      const { body } = await ada.send(SIGN_IN);
      expect(body).toMatchObject({ ...kept, passport: { user: "ada" } });
      expect(await ada.fields()).toEqual({ ...kept, user: "ada" });
      expect(conflicts).toEqual([]);
    });

    it("logIn gives the session a new id, and the old one is dead", async () => {
      const ada = await visit({ keepSessionInfo });
      const planted = ada.clone();
      await ada.send(SIGN_IN);
      expect(ada.cookie).not.toBe(planted.cookie);
      expect(await planted.fields()).toEqual({});
      expect(await store.length()).toBe(1);
    });

    it.each([
      ["just before the session's expiry", 10 * MINUTE - 1],
      ["at the session's expiry", 10 * MINUTE],
      ["between its expiry and touchAfter later", 10 * MINUTE + (TOUCH_AFTER_S * 1000) / 2],
      ["just before the session is not found any more", 10 * MINUTE + TOUCH_AFTER_S * 1000 - 1],
    ])("logIn stores the session of the user %s", async (_when, pause) => {
      const ada = await visit({ keepSessionInfo });
      advance(pause);
      const { body } = await ada.send(SIGN_IN);
      expect(body).toMatchObject({ ...kept, passport: { user: "ada" } });
      expect(await store.length()).toBe(1);
      // The session lives from the sign-in on.
      advance(10 * MINUTE - 1);
      expect(await ada.fields()).toEqual({ ...kept, user: "ada" });
    });

    it("logOut ends the session of the user, also for a client that still has its cookie", async () => {
      const ada = await visit({ keepSessionInfo });
      await ada.send(SIGN_IN);
      const stolen = ada.clone();
      await ada.send("POST /sign-out");
      expect(await stolen.fields()).toEqual({});
      expect(await ada.fields()).toEqual(kept);
    });

    it("logOut is final while a slow request runs that then changes the session and saves it twice", async () => {
      const gate = new Gate();
      const ada = await visit({ keepSessionInfo, gate });
      await ada.send(SIGN_IN);
      const stolen = ada.clone();
      const slow = stolen.send("POST /slow");
      await gate.reached;
      await ada.send("POST /sign-out");
      gate.open();
      await slow;
      expect(await stolen.fields()).toEqual({});
      expect(await ada.fields()).toEqual(kept);
      // The new session, which express-session saves because its id is new.
      expect(await store.length()).toBe(1);
      expect(conflicts.map(({ reason }) => reason)).toEqual(["gone", "gone"]);
    });

    it("logIn while a slow request of the visitor runs leaves the old session dead", async () => {
      const gate = new Gate();
      const ada = await visit({ keepSessionInfo, gate });
      const planted = ada.clone();
      const slow = planted.send("POST /slow");
      await gate.reached;
      await ada.send(SIGN_IN);
      gate.open();
      await slow;
      expect(await planted.fields()).toEqual({});
      expect(await ada.fields()).toEqual({ ...kept, user: "ada" });
      expect(await store.length()).toBe(1);
    });

    it("logIn of a user who is signed in gives another session", async () => {
      const ada = await visit({ keepSessionInfo });
      await ada.send(SIGN_IN);
      const before = ada.clone();
      await ada.send(SIGN_IN);
      expect(await before.fields()).toEqual({});
      expect(await ada.fields()).toEqual({ ...kept, user: "ada" });
      expect(await store.length()).toBe(1);
    });

    it("logIn twice at the same time gives each browser a session of its own", async () => {
      const [one, two] = await visit({ keepSessionInfo }).then(
        browser => [browser, browser.clone()] as const,
      );
      await Promise.all([one.send(SIGN_IN), two.send(SIGN_IN)]);
      expect((await one.fields()).user).toBe("ada");
      expect((await two.fields()).user).toBe("ada");
      await one.send("POST /sign-out");
      expect((await two.fields()).user).toBe("ada");
    });
  });

  it("a sign-in with a wrong password leaves the session as it is", async () => {
    const eve = await visit({ keepSessionInfo: true });
    const { status } = await eve.attempt("POST /sign-in?username=ada&password=wrong");
    expect(status).toBe(401);
    expect(await eve.fields()).toEqual({ cart: "tea" });
  });
});
