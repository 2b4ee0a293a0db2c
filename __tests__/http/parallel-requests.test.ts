import { type AppRequest, Browser, Gate, type Handler } from "../helpers/apps/app.js";
import {
  change,
  changesOf,
  conflictsOf,
  describeApps,
  readOnly,
  save,
  setTogether,
  slowRequest,
} from "../helpers/apps/frameworks.js";

describeApps(({ createStore, openApp, signIn }) => {
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
      // The saves wait for each other, which takes long on a slow engine and a busy machine.
      const store = createStore({ timeoutMs: 20_000 });
      const conflicts = conflictsOf(store);
      const ada = await signIn(store, { routes: setTogether(count) });
      const changes = changesOf(count);
      await Promise.all(
        Object.entries(changes).map(([key, value]) => ada.send(`POST /set-together?${key}=${value}`)),
      );
      expect(await ada.fields()).toEqual({ user: "ada", ...changes });
      // All saves except the first found changes of others.
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
});
