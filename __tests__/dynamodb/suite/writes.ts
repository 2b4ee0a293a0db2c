import { GetItemCommand } from "@aws-sdk/client-dynamodb";
import { eventsOf } from "../../../lib/conformance/observe.js";
import { load, plain, requestSession, stored } from "../../../lib/conformance/sessions.js";
import type { DynamoDBStore } from "../../../lib/dynamodb/store.js";
import { DynamoDBProxy } from "../../helpers/faults/dynamodb-proxy.js";
import { type Interference, loseAnswer } from "../../helpers/stores/counting.js";
import { type Context, clientAt, saveAll } from "./context.js";

const ATTEMPT_MS = 300;

export function testWrites(context: Context): void {
  const { traffic, raw, tableName } = context;

  async function saveOther(store: DynamoDBStore): Promise<void> {
    const theirs = await load(store, "sid");
    theirs.theme = "dark";
    await store.set("sid", theirs);
  }

  /** Returns the stored item like AWS, which these engines do not. */
  const returnItem: Interference = async (perform, input) => {
    expect(input.ReturnValuesOnConditionCheckFailure).toBe("ALL_OLD");
    const answer = await perform();
    expect(answer.statusCode).toBe(400);
    const Key = { id: { S: `${context.prefix}sid` } };
    const { Item } = await raw.send(new GetItemCommand({ TableName: tableName, Key }));
    return { ...answer, body: { ...answer.body, Item: toWire(Item) } };
  };

  describe("a refused write", () => {
    it.each([false, "deflate"] as const)(
      "uses the item that DynamoDB returns with the error, compression %s",
      async compression => {
        const store = context.open({ compression });
        const conflicts = eventsOf(store, "conflict");
        const text = "x".repeat(3000);
        await saveAll(store, ["sid"], { user: "ann", text });
        const session = await load(store, "sid");
        await saveOther(store);
        session.views = 1;
        traffic.next("PutItem", returnItem);
        expect(await traffic.during(() => store.set("sid", session))).toEqual(["PutItem", "PutItem"]);
        expect(await stored(store, "sid")).toEqual({ user: "ann", text, theme: "dark", views: 1 });
        expect(await conflicts()).toMatchObject([{ reason: "merged", keys: [] }]);
      },
    );

    it("uses the returned item for a touch, too: a tombstone ends it", async () => {
      const store = context.open();
      await saveAll(store, ["sid"]);
      const session = await load(store, "sid");
      await context.open().destroy("sid");
      context.clock.advance(10);
      traffic.next("UpdateItem", returnItem);
      expect(await traffic.during(() => store.touch("sid", session))).toEqual(["UpdateItem"]);
      expect(await store.get("sid")).toBeNull();
    });

    it("reads what is stored if the engine does not return it", async () => {
      const store = context.open();
      await saveAll(store, ["sid"], { user: "ann" });
      const session = await load(store, "sid");
      await saveOther(store);
      session.views = 1;
      const requests = await traffic.during(() => store.set("sid", session));
      expect(requests).toEqual(["PutItem", "GetItem", "PutItem"]);
      expect(await stored(store, "sid")).toEqual({ user: "ann", theme: "dark", views: 1 });
    });

    it("is no error for destroy: the removal of another took place", async () => {
      const store = context.open();
      await saveAll(store, ["sid"]);
      traffic.next("UpdateItem", loseAnswer(Object.assign(new Error("hang up"), { code: "ECONNRESET" })));
      expect(await traffic.during(() => store.destroy("sid"))).toEqual(["UpdateItem", "UpdateItem"]);
      expect(await store.get("sid")).toBeNull();
    });
  });

  describe("a lost response", () => {
    const lost = loseAnswer(Object.assign(new Error("socket hang up"), { code: "ECONNRESET" }));

    it("causes no conflict: a save recognizes its own first attempt", async () => {
      const store = context.open({ conflict: "error" });
      const conflicts = eventsOf(store, "conflict");
      const session = requestSession(store, "sid", plain());
      for (const views of [1, 2, 3]) {
        session.views = views;
        traffic.next("PutItem", lost);
        const requests = await traffic.during(() => store.set("sid", session));
        expect(requests).toEqual(["PutItem", "PutItem", "GetItem"]);
        expect(await stored(store, "sid")).toEqual({ views });
      }
      expect(await conflicts()).toEqual([]);
    });

    it.each(["new", "loaded"])(
      "does not bring back a %s session that was destroyed in between",
      async kind => {
        const store = context.open();
        await saveAll(store, ["loaded"]);
        const session = kind === "new" ? requestSession(store, "new", plain()) : await load(store, kind);
        traffic.next("PutItem", async (perform, input) => {
          await perform();
          await context.open().destroy(kind);
          return lost(perform, input);
        });
        session.views = 1;
        await store.set(kind, session);
        expect(await store.get(kind)).toBeNull();
      },
    );

    it("leaves new sessions, touch and destroy as they are", async () => {
      const store = context.open({ ttl: 100 });
      traffic.next("PutItem", lost);
      await store.set("sid", plain({ user: "ann" }));
      const session = await load(store, "sid");
      context.clock.advance(50);
      traffic.next("UpdateItem", lost);
      await store.touch("sid", session);
      context.clock.advance(99);
      expect(await stored(store, "sid")).toEqual({ user: "ann" });
      traffic.next("UpdateItem", lost);
      await store.destroy("sid");
      expect(await store.get("sid")).toBeNull();
    });
  });

  describe("a first attempt that arrives late", () => {
    let proxy: DynamoDBProxy;
    let store: DynamoDBStore;
    let close: () => void;

    /**
     * Holds the first attempt of the next write. The SDK sends the write again, and gets a response to that attempt.
     */
    function holdNextWrite(): void {
      let isFirst = true;
      proxy.intercept(({ kind }) => {
        if (kind === "read" || !isFirst) return "forward";
        isFirst = false;
        return "hold";
      });
    }

    beforeEach(async () => {
      proxy = new DynamoDBProxy();
      const { endpoint } = raw.config;
      const { protocol, hostname, port } = await (endpoint as NonNullable<typeof endpoint>)();
      const client = clientAt(await proxy.start(`${protocol}//${hostname}:${port}`), {
        maxAttempts: 3,
        requestHandler: { requestTimeout: ATTEMPT_MS, throwOnRequestTimeout: true },
      });
      store = context.open({ client });
      close = () => client.destroy();
    });
    afterEach(async () => {
      close();
      await proxy.close();
    });

    it("of a first save does not undo later saves", async () => {
      const session = requestSession(store, "sid", plain({ user: "ann" }));
      holdNextWrite();
      await store.set("sid", session);
      expect(proxy.held).toHaveLength(1);
      const theirs = await load(context.open(), "sid");
      theirs.cart = ["tea"];
      await context.open().set("sid", theirs);
      await proxy.release();
      expect(await stored(store, "sid")).toEqual({ user: "ann", cart: ["tea"] });
    });

    it("of a first save does not sign in again a user who signed out", async () => {
      const session = requestSession(store, "sid", plain({ user: "ann" }));
      holdNextWrite();
      await store.set("sid", session);
      await store.destroy("sid");
      await proxy.release();
      expect(await store.get("sid")).toBeNull();
      expect(await context.itemOf("sid")).toMatchObject({ l: 0 });
    });

    it("of a destroy does not remove the session that was created over its tombstone", async () => {
      await store.set("sid", requestSession(store, "sid", plain({ user: "ann" })));
      holdNextWrite();
      await store.destroy("sid");
      expect(proxy.held).toHaveLength(1);
      context.clock.advance(1);
      const other = context.open();
      await other.set("sid", requestSession(other, "sid", plain({ user: "eve" })));
      await proxy.release();
      expect(await stored(store, "sid")).toEqual({ user: "eve" });
    });
  });
}

/** The item in JSON. The SDK has bytes as bytes, the wire format in base64. */
function toWire(item: object | undefined): unknown {
  return JSON.parse(
    JSON.stringify(item, (_name, value) =>
      value?.type === "Buffer" || value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value,
    ),
  );
}
