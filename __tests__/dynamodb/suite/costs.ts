import { randomBytes } from "node:crypto";
import { type DynamoDBClient, GetItemCommand } from "@aws-sdk/client-dynamodb";
import { find, load, plain, requestSession, sids, stored } from "../../../lib/conformance/sessions.js";
import type { DynamoDBStore } from "../../../lib/dynamodb/store.js";
import { Browser, createApp } from "../../helpers/apps/app.js";
import { type Context, saveAll } from "./context.js";

export function testCosts(context: Context): void {
  const { traffic, engine, raw, tableName } = context;
  const { views } = engine;

  describe("requests", () => {
    it("are one for each get, save, touch and destroy", async () => {
      const store = context.open();
      const session = requestSession(store, "sid", plain());
      expect(await traffic.during(() => store.set("sid", session))).toEqual(["PutItem"]);
      expect(await traffic.during(() => store.get("sid"))).toEqual(["GetItem"]);
      const loaded = await load(store, "sid");
      for (const count of [1, 2]) {
        loaded.views = count;
        expect(await traffic.during(() => store.set("sid", loaded))).toEqual(["PutItem"]);
        context.clock.advance(1);
        expect(await traffic.during(() => store.touch("sid", loaded))).toEqual(["UpdateItem"]);
      }
      expect(await stored(store, "sid")).toEqual({ views: 2 });
      expect(await traffic.during(() => store.destroy("sid"))).toEqual(["UpdateItem"]);
      expect(await traffic.during(() => store.get("sid"))).toEqual(["GetItem"]);
    });

    it("are one more for the touch of a session object that the store has not seen", async () => {
      const store = context.open();
      await saveAll(store, ["sid"]);
      context.clock.advance(1);
      expect(await traffic.during(() => store.touch("sid", plain()))).toEqual(["GetItem", "UpdateItem"]);
    });

    it.each([
      { touchAfter: 60, atMost: 1, atLeast: 0 },
      { touchAfter: 0, atMost: views, atLeast: views },
    ])(
      `are $atMost writes at most for ${views} page views of one user within a minute with touchAfter $touchAfter`,
      async ({ touchAfter, atMost, atLeast }) => {
        const store = context.open({ touchAfter });
        await store.set("sid", plain({ user: "ann" }));
        const requests = await traffic.during(async () => {
          for (let view = 0; view < views; view++) {
            context.clock.advance(60 / views);
            await store.touch("sid", await load(store, "sid"));
          }
        });
        const writes = requests.filter(name => name !== "GetItem");
        expect(writes.length).toBeLessThanOrEqual(atMost);
        expect(writes.length).toBeGreaterThanOrEqual(atLeast);
        expect(requests).toHaveLength(views + writes.length);
      },
    );

    it("are 20 writes at most for 1,000 page views in 1,000 s with default options", async () => {
      const { clock } = context;
      const store = context.open({ touchAfter: undefined });
      const now = jest.spyOn(Date, "now").mockImplementation(clock.now);
      try {
        const browser = new Browser(createApp(store, { cookie: { maxAge: 30 * 60 * 1000 } }));
        const requests = await traffic.during(async () => {
          await browser.send("POST /sign-in?user=ann");
          for (let view = 0; view < 1000; view++) {
            clock.advance(1);
            await browser.send("GET /");
          }
        });
        const writes = requests.filter(name => name !== "GetItem");
        expect(writes.length).toBeLessThanOrEqual(20);
        expect(requests.length - writes.length).toBe(1000);
        // The store skips most writes, but the session does not end early.
        clock.advance(30 * 60 - 1);
        expect(await browser.fields()).toEqual({ user: "ann" });
      } finally {
        now.mockRestore();
      }
    });
  });

  describe("capacity", () => {
    const metered: DynamoDBClient = engine.connect();
    let units: number[] = [];
    beforeAll(() => {
      metered.middlewareStack.add(
        next => async args => {
          const answer = await next({ ...args, input: { ...args.input, ReturnConsumedCapacity: "TOTAL" } });
          const { ConsumedCapacity } = answer.output as { ConsumedCapacity: object };
          const consumed = [ConsumedCapacity].flat() as { CapacityUnits: number }[];
          units.push(...consumed.map(({ CapacityUnits }) => CapacityUnits));
          return answer;
        },
        { step: "initialize" },
      );
    });
    afterAll(() => metered.destroy());

    async function unitsOf(work: () => Promise<unknown>): Promise<number> {
      units = [];
      await work();
      return units.reduce((sum, one) => sum + one, 0);
    }

    /** The size that DynamoDB counts for the item under a key, by the rules in its documentation. */
    async function bytesOf(key: string): Promise<number> {
      const { Item } = await raw.send(
        new GetItemCommand({ TableName: tableName, Key: { id: { S: key } }, ConsistentRead: true }),
      );
      return Object.entries(Item ?? {}).reduce((size, [name, { S, N, B }]) => {
        const digits = N?.replace(/^0+|0+$/g, "").length;
        const value =
          digits === undefined ? (B?.length ?? Buffer.byteLength(S ?? "")) : Math.ceil(digits / 2) + 1;
        return size + Buffer.byteLength(name) + value;
      }, 0);
    }

    it("of a write is one unit for a session of 900 bytes of JSON under an ordinary key", async () => {
      const { clock } = context;
      const store = context.open({ client: metered, prefix: undefined, touchAfter: undefined });
      const sid = randomBytes(24).toString("base64url");
      const session = requestSession(store, sid, plain({ user: "ann" }, clock.in(1800)));
      session.text = "x".repeat(900 - ',"text":""'.length - JSON.stringify(session).length);
      expect(JSON.stringify(session)).toHaveLength(900);
      expect(await unitsOf(() => store.set(sid, session))).toBe(1);
      const loaded = Object.assign(await load(store, sid), { user: "eve" });
      expect(await unitsOf(() => store.set(sid, loaded))).toBe(1);
      expect(await bytesOf(`sess:${sid}`)).toBeLessThanOrEqual(1024);
      clock.advance(600);
      expect(await unitsOf(() => store.touch(sid, loaded))).toBe(1);
      expect(await unitsOf(() => store.destroy(sid))).toBe(1);
      expect(await bytesOf(`sess:${sid}`)).toBeLessThan(150);
    });

    it("of reads is half with consistentRead: false", async () => {
      const store = context.open({ client: metered });
      const half = context.open({ client: metered, consistentRead: false });
      const some = sids(10);
      for (const sid of some) await store.set(sid, plain({ text: "x".repeat(6000) }));
      for (const read of [
        (from: DynamoDBStore) => from.get("sid-0"),
        (from: DynamoDBStore) => Promise.all(some.map(sid => from.get(sid))),
      ]) {
        const whole = await unitsOf(() => read(store));
        expect(whole).toBeGreaterThan(0);
        expect(await unitsOf(() => read(half))).toBe(whole / 2);
      }
    });

    it("of a larger session is less with compression, and any store reads it", async () => {
      const without = context.open({ client: metered });
      const store = context.open({ client: metered, compression: "deflate" });
      const text = "All work and no play. ".repeat(270);
      const session = plain({ user: "ann", text }, context.clock.in(1800));
      expect(await unitsOf(() => without.set("plain", session))).toBe(6);
      await without.destroy("plain");
      expect(await unitsOf(() => store.set("sid", session))).toBe(1);
      expect((await context.itemOf("sid"))?.data).toBeInstanceOf(Uint8Array);
      for (const reader of [store, without]) {
        expect(await find(reader, "sid")).toMatchObject({ user: "ann", text });
        await saveAll(reader, ["other"]);
        const found = await Promise.all(["sid", "other", "sid"].map(sid => find(reader, sid)));
        expect(found).toMatchObject([{ user: "ann" }, {}, { user: "ann" }]);
        expect(await reader.all()).toHaveLength(2);
      }
      // A touch does not change the data, and a save without the option stores it as text.
      context.clock.advance(1);
      await store.touch("sid", await load(store, "sid"));
      expect((await context.itemOf("sid"))?.data).toBeInstanceOf(Uint8Array);
      const [first, second] = [await load(store, "sid"), await load(without, "sid")];
      first.views = 1;
      await store.set("sid", first);
      second.theme = "dark";
      await without.set("sid", second);
      expect(await stored(store, "sid")).toEqual({ user: "ann", text, views: 1, theme: "dark" });
      expect((await context.itemOf("sid"))?.data).toEqual(expect.any(String));
    });
  });
}
