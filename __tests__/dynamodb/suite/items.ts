import { GetItemCommand } from "@aws-sdk/client-dynamodb";
import { eventsOf } from "../../../lib/conformance/observe.js";
import { load, plain, requestSession, stored } from "../../../lib/conformance/sessions.js";
import { type Context, saveAll } from "./context.js";

export function testItems(context: Context): void {
  describe("items", () => {
    it("have the key, the session as one string, its times, and a TTL in whole seconds after the grace", async () => {
      const { clock, prefix } = context;
      const store = context.open({ ttl: 100, touchAfter: 10 });
      clock.advance(Math.ceil(clock.now() / 1000) + 0.001 - clock.now() / 1000);
      const session = plain({ user: "ann" });
      await store.set("sid", session);
      expect(await context.itemOf("sid")).toEqual({
        id: `${prefix}sid`,
        data: JSON.stringify(session),
        ttl: (clock.now() - 1) / 1000 + 110 + 60 + 1,
        l: 100_000,
        a: clock.now(),
        c: clock.now(),
        v: expect.any(String),
      });
    });

    it("keep everything but the time of the last use when they are touched", async () => {
      const store = context.open({ ttl: 100 });
      await saveAll(store, ["sid"], { user: "ann" });
      const before = (await context.itemOf("sid")) as { a: number; ttl: number };
      context.clock.advance(50);
      await store.touch("sid", await load(store, "sid"));
      expect(await context.itemOf("sid")).toEqual({
        ...before,
        a: before.a + 50_000,
        ttl: before.ttl + 50,
      });
    });

    it("become a tombstone without data for an hour when their session is destroyed", async () => {
      const { clock, prefix } = context;
      const store = context.open();
      await saveAll(store, ["sid"], { user: "ann" });
      await store.destroy("sid");
      expect(await context.itemOf("sid")).toEqual({
        id: `${prefix}sid`,
        ttl: Math.ceil(clock.now() / 1000) + 3600,
        l: 0,
        a: expect.any(Number),
        c: clock.now(),
        v: expect.any(String),
      });
      expect(await store.get("sid")).toBeNull();
      expect(await store.length()).toBe(0);
    });

    it("have the attribute names that the option says, in every operation", async () => {
      const attributes = {
        id: "token",
        data: "session data",
        ttl: "removeAt",
        lifetime: "#lifetime",
        activeAt: "size",
        created: "created",
        version: "version",
        user: "user-id",
      };
      const store = context.open({
        attributes,
        tableName: context.newTableName(),
        absoluteTimeout: 1e6,
        touchAfter: 0,
      });
      await store.createTable();
      await saveAll(store, ["a", "b"], { user: "ann" });
      const Key = { token: { S: `${context.prefix}a` } };
      const { Item } = await context.raw.send(new GetItemCommand({ TableName: store.tableName, Key }));
      const { user, ...written } = attributes;
      expect(Object.keys(Item ?? {}).sort()).toEqual(Object.values(written).sort());
      const [one, other] = [await load(store, "a"), await load(store, "a")];
      context.clock.advance(10);
      await store.touch("a", one);
      one.views = 1;
      await store.set("a", one);
      other.theme = "dark";
      await store.set("a", other);
      const merged = { user: "ann", views: 1, theme: "dark" };
      expect(await Promise.all(["a", "b"].map(sid => stored(store, sid)))).toEqual([merged, { user: "ann" }]);
      expect((await store.ids()).sort()).toEqual(["a", "b"]);
      await store.destroy("a");
      expect(await store.length()).toBe(1);
      await store.clear();
      expect(await store.all()).toEqual([]);
    });

    it("of ended sessions are not found while DynamoDB still has them, and a running request can save them", async () => {
      const store = context.open({ ttl: 10 });
      await saveAll(store, ["sid"]);
      const session = await load(store, "sid");
      context.clock.advance(10);
      expect(await store.get("sid")).toBeNull();
      expect(await Promise.all(["sid", "sid"].map(sid => store.get(sid)))).toEqual([null, null]);
      expect(await store.all()).toEqual([]);
      expect(await store.length()).toBe(0);
      await store.touch("sid", session);
      expect(await store.get("sid")).toBeNull();
      expect(await context.itemOf("sid")).toBeDefined();
      session.user = "ann";
      await store.set("sid", session);
      expect(await stored(store, "sid")).toEqual({ user: "ann" });
    });

    it("of sessions that ended hours ago stay ended, although DynamoDB still has them", async () => {
      const store = context.open({ ttl: 10 });
      await saveAll(store, ["sid"]);
      const session = await load(store, "sid");
      context.clock.advance(12 * 3600);
      session.user = "ann";
      const conflicts = eventsOf(store, "conflict");
      await store.touch("sid", session);
      await store.set("sid", session);
      expect(await store.get("sid")).toBeNull();
      expect(await conflicts()).toMatchObject([{ reason: "gone" }]);
    });

    it("are not created by a touch", async () => {
      const store = context.open();
      await store.touch("sid", plain());
      await store.touch("sid", requestSession(store, "sid", plain()));
      expect(await context.itemOf("sid")).toBeUndefined();
    });

    it.each<[string, (now: number) => Record<string, unknown>]>([
      ["no attributes", () => ({})],
      ["data alone", () => ({ data: "{}" })],
      ["data of another type", () => ({ data: 42 })],
      ["times of another type", () => ({ data: "{}", l: "soon", a: 1, c: 1, v: "1" })],
      [
        "the format of version 0.1",
        now => ({ data: '{"cookie":{}}', expires: now + 1e6, ttl: 2e9, c: now, v: "1.1", s: 0 }),
      ],
    ])(
      "with %s are no sessions: they are absent, reported, and left as they are until destroy",
      async (_what, attributes) => {
        const store = context.open();
        const item = { ...attributes(context.clock.now()), id: `${context.prefix}sid` };
        await context.putItem(item);
        const corrupt = eventsOf(store, "corrupt");
        expect(await store.get("sid")).toBeNull();
        await store.touch("sid", plain());
        expect(await store.all()).toEqual([]);
        expect(await context.itemOf("sid")).toEqual(item);
        expect(await corrupt()).not.toHaveLength(0);
        await store.destroy("sid");
        expect(await context.itemOf("sid")).toMatchObject({ l: 0 });
      },
    );
  });
}
