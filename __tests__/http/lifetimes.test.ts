import { type AppRequest, beginReply, type Handler } from "../helpers/apps/app.js";
import { change, countWrites, describeApps, readOnly, slowRequest } from "../helpers/apps/frameworks.js";
import { advance, stopClock } from "../helpers/stopped-clock.js";

const MINUTE = 60_000;

/** The head of the response is sent before the session is changed, so that the time of the use is known by then. */
const startDownload: Handler = (_req, _params, res) => beginReply(res);

describeApps(({ createStore, signIn }) => {
  describe("cookie.maxAge", () => {
    it("ends a session after that time without a request, to the millisecond", async () => {
      stopClock();
      const ada = await signIn(createStore({ touchAfter: 0 }), { cookie: { maxAge: MINUTE } });
      advance(MINUTE - 1);
      // A request restarts the time.
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

  // With `rolling`, express-session touches the cookie when the response begins, otherwise when it ends.
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

    it("does not shorten a session that others have extended", async () => {
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

    it("does not end a session early if its touch was skipped in the meantime", async () => {
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

    it("counts from its beginning: a user who does not come back is signed out by then", async () => {
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
      stopClock();
      const store = createStore({ touchAfter: 0 });
      const ada = await signIn(store, { cookie: { maxAge: 10 * MINUTE } });
      const written = countWrites(store);
      for (let view = 0; view < 20; view++) {
        // A second view within a millisecond moves nothing.
        advance(1);
        await ada.send("GET /");
      }
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
});
