import { changesOf, describeApps, onPersistentBackends, setTogether } from "../helpers/apps/frameworks.js";

const MINUTE = 60_000;

describeApps(({ createStore, openApp, signIn }) => {
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

    it("does not bring back users who signed out before it", async () => {
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
}, onPersistentBackends);
