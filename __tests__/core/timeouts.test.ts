import type { AbstractStore } from "../../lib/index.js";
import {
  type AppOptions,
  type AppRequest,
  Browser,
  createApp,
  Gate,
  meeting,
  settled,
} from "../helpers/apps/app.js";
import { advance, stopClock } from "../helpers/stopped-clock.js";
import { backends, useBackend } from "../helpers/stores/backends.js";

/*
 * The timeouts that OWASP ASVS 5.0 requires in V7.3, over HTTP and on every store. 7.3.1 "inactivity timeout" is
 * `cookie.maxAge`, or the option `ttl` for cookies that end with the browser. 7.3.2 "absolute maximum session lifetime"
 * is the option `absoluteTimeout`. The application decides which values are right (7.1.1).
 */

const SECOND = 1000;
const IDLE = 60 * SECOND;
const ABSOLUTE = 600 * SECOND;

beforeEach(stopClock);
afterEach(() => {
  jest.useRealTimers();
});

const save = (req: AppRequest) => settled(done => req.session.save(done));

/** Two requests wait here for each other with the session loaded. Then both change it. */
let meet = meeting(2);
/** A request waits here with the session loaded, and then changes it. */
let gate = new Gate();

const routes: AppOptions["routes"] = {
  "POST /set-together": async (req, params) => {
    await meet();
    Object.assign(req.session, Object.fromEntries(params));
  },
  "POST /set-slowly": async (req, params) => {
    await gate.pass();
    Object.assign(req.session, Object.fromEntries(params));
  },
  "POST /set-twice": async req => {
    req.session.progress = "half";
    await save(req);
    req.session.progress = "done";
  },
  "POST /regenerate": async req => {
    await settled(done => req.session.regenerate(done));
    req.session.user = "ada again";
  },
};

/** The ways in which a signed-in user keeps a session in use. */
const busy: Record<string, (browser: Browser) => Promise<unknown>> = {
  "requests that change nothing (touch)": browser => browser.send("GET /"),
  "requests that change the session (save)": browser => browser.send(`POST /set?at=${Date.now()}`),
  "requests that save in the middle": browser => browser.send("POST /set-twice"),
  "parallel requests whose changes are merged": browser => {
    meet = meeting(2);
    const calls = [`POST /set-together?one=${Date.now()}`, `POST /set-together?other=${Date.now()}`];
    return Promise.all(calls.map(call => browser.send(call)));
  },
};

const ways = Object.entries(busy);

describe.each(backends)("sessions in $name", backend => {
  const createStore = useBackend(backend);

  const openApp = (store: AbstractStore, options: AppOptions = {}) =>
    createApp(store, { routes, cookie: { maxAge: IDLE }, ...options });

  async function signIn(store: AbstractStore, options?: AppOptions): Promise<Browser> {
    const browser = new Browser(openApp(store, options));
    await browser.send("POST /sign-in?user=ada");
    return browser;
  }

  /** Expects that the user is signed in until a millisecond before this time has passed, and not from then on. */
  async function expectEndIn(ms: number, browser: Browser, store: AbstractStore): Promise<void> {
    advance(ms - 1);
    expect(await store.length()).toBe(1);
    advance(1);
    expect(await store.length()).toBe(0);
    expect(await browser.fields()).toEqual({});
  }

  describe("ASVS 7.3.1, inactivity", () => {
    describe.each([
      ["cookie.maxAge", {}, {}],
      ["the option ttl, for a cookie that ends with the browser", { ttl: IDLE / SECOND }, { cookie: {} }],
    ])("by %s", (_name, storeOptions, appOptions) => {
      it.each(ways)(
        "ends a session so long after the last of %s, to the millisecond",
        async (_way, visit) => {
          const store = createStore({ touchAfter: 0, ...storeOptions });
          const ada = await signIn(store, appOptions);
          for (const pause of [IDLE - 1, IDLE - 1, IDLE / 2]) {
            advance(pause);
            await visit(ada);
            expect((await ada.fields()).user).toBe("ada");
          }
          await expectEndIn(IDLE, ada, store);
        },
      );
    });

    it.each(ways)(
      "is at least that long after %s, where touches are skipped, and at most touchAfter longer",
      async (_way, visit) => {
        const touchAfter = 10;
        const store = createStore({ touchAfter });
        const ada = await signIn(store);
        for (const pause of [3, 4, 2, 59.999, 5, 59.999]) {
          advance(pause * SECOND);
          await visit(ada);
        }
        advance(IDLE - 1);
        expect((await ada.fields()).user).toBe("ada");
        advance(IDLE + touchAfter * SECOND);
        expect(await ada.fields()).toEqual({});
      },
    );

    it("is not put off by requests that come too late", async () => {
      const ada = await signIn(createStore({ touchAfter: 0 }));
      advance(IDLE);
      for (const [, visit] of ways) await visit(ada.clone());
      expect(await ada.fields()).toEqual({});
    });
  });

  describe("ASVS 7.3.2, absolute", () => {
    const options = { absoluteTimeout: ABSOLUTE / SECOND };

    it.each(ways)("ends a session that %s keep busy, to the millisecond", async (_way, visit) => {
      for (const touchAfter of [undefined, 0, 30]) {
        const store = createStore({ ...options, touchAfter, prefix: `${touchAfter}:` });
        const ada = await signIn(store);
        for (let passed = 0; passed < ABSOLUTE - IDLE / 2; passed += IDLE / 2) {
          await visit(ada);
          advance(IDLE / 2);
        }
        await visit(ada);
        expect((await ada.fields()).user).toBe("ada");
        await expectEndIn(IDLE / 2, ada, store);
      }
    });

    it("ends a session that lives longer by its cookie", async () => {
      const store = createStore(options);
      const ada = await signIn(store, { cookie: { maxAge: 10 * ABSOLUTE } });
      await expectEndIn(ABSOLUTE, ada, store);
    });

    it("is not put off by a request that began before and ends after", async () => {
      const store = createStore(options);
      const ada = await signIn(store, { cookie: { maxAge: ABSOLUTE } });
      advance(ABSOLUTE - 1);
      gate = new Gate();
      const slow = ada.clone().send("POST /set-slowly?late=1");
      await gate.reached;
      advance(1);
      gate.open();
      await slow;
      expect(await ada.fields()).toEqual({});
      expect(await store.length()).toBe(0);
    });

    it("starts anew with a session that is regenerated, and the old one is gone at once", async () => {
      const store = createStore(options);
      const ada = await signIn(store, { cookie: { maxAge: 10 * ABSOLUTE } });
      const old = ada.clone();
      advance(ABSOLUTE - SECOND);
      await ada.send("POST /regenerate");
      expect(await old.fields()).toEqual({});
      advance(SECOND);
      expect(await ada.fields()).toEqual({ user: "ada again" });
      await expectEndIn(ABSOLUTE - SECOND, ada, store);
    });

    it("starts anew with each sign-in, whatever became of the session before", async () => {
      const store = createStore(options);
      const ada = await signIn(store, { cookie: { maxAge: 10 * ABSOLUTE } });
      await expectEndIn(ABSOLUTE, ada, store);
      await ada.send("POST /sign-in?user=ada");
      await expectEndIn(ABSOLUTE, ada, store);
    });
  });

  if (!backend.persistent) return;

  describe("a restart", () => {
    /** Signs in, closes the store, and continues with another one. */
    async function restarted(options: Parameters<typeof createStore>[0], pause: number, maxAge: number) {
      const before = createStore(options);
      const ada = await signIn(before, { cookie: { maxAge } });
      advance(pause);
      await ada.send("GET /");
      await before.close();
      const store = createStore(options);
      return { store, ada: ada.clone(openApp(store, { cookie: { maxAge } })) };
    }

    it("leaves the end by inactivity where it was", async () => {
      const { store, ada } = await restarted({ touchAfter: 0 }, IDLE / 2, IDLE);
      await expectEndIn(IDLE, ada, store);
    });

    it("leaves the absolute end where it was, also for a session that is then touched, saved and merged", async () => {
      const options = { absoluteTimeout: ABSOLUTE / SECOND };
      const { store, ada } = await restarted(options, ABSOLUTE / 2, ABSOLUTE);
      for (const [, visit] of ways) await visit(ada);
      expect((await ada.fields()).user).toBe("ada");
      await expectEndIn(ABSOLUTE / 2, ada, store);
    });

    it("ends with a new absolute timeout the sessions that are older, by when they began", async () => {
      const { store, ada } = await restarted({}, ABSOLUTE / 2, 10 * ABSOLUTE);
      await store.close();
      const strict = createStore({ absoluteTimeout: ABSOLUTE / SECOND });
      await expectEndIn(ABSOLUTE / 2, ada.clone(openApp(strict)), strict);
    });
  });
});
