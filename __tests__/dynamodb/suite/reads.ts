import { AsyncLocalStorage } from "node:async_hooks";
import { find, load, plain, sids, stored } from "../../../lib/conformance/sessions.js";
import { type Interference, type Request, trafficOfDynamoDB } from "../../helpers/stores/counting.js";
import { type Context, saveAll } from "./context.js";

export function testReads(context: Context): void {
  const { traffic, tableName } = context;

  /** Makes DynamoDB leave the items of these sids unprocessed. */
  const leave =
    (...left: string[]): Interference =>
    async perform => {
      const answer = await perform();
      const { Responses } = answer.body;
      const keys = left.map(sid => context.prefix + sid);
      Responses[tableName] = Responses[tableName].filter(
        (item: { id: { S: string } }) => !keys.includes(item.id.S),
      );
      const Keys = keys.map(S => ({ id: { S } }));
      answer.body.UnprocessedKeys = { [tableName]: { Keys, ConsistentRead: true } };
      return answer;
    };

  describe("reads", () => {
    it("that wait at the same moment share requests, by the hundred, and each gets its own", async () => {
      const store = context.open();
      const some = sids(150);
      await Promise.all(some.map(sid => store.set(sid, plain({ sid }))));
      const found: unknown[] = [];
      const requests = await traffic.requestsDuring(async () => {
        found.push(...(await Promise.all([...some, "none"].map(sid => stored(store, sid)))));
      });
      expect(found).toEqual([...some.map(sid => ({ sid })), null]);
      expect(requests.map(({ name }) => name)).toEqual(["BatchGetItem", "BatchGetItem"]);
      expect(requests.map(keysOf).map(keys => keys.length)).toEqual([100, 51]);
    });

    it("of one session are one key of a request, and share no object", async () => {
      const store = context.open();
      await saveAll(store, ["a", "b"]);
      const found: unknown[] = [];
      const requests = await traffic.requestsDuring(async () => {
        found.push(...(await Promise.all(["a", "b", "a"].map(sid => store.get(sid)))));
      });
      expect(requests.map(keysOf)).toEqual([[`${context.prefix}a`, `${context.prefix}b`]]);
      expect(found[0]).toEqual(found[2]);
      expect(found[0]).not.toBe(found[2]);
    });

    it("that come while one is in flight do not wait for it", async () => {
      const store = context.open();
      await saveAll(store, ["a", "b"]);
      let answer = () => {};
      const held = new Promise<void>(resolve => {
        answer = resolve;
      });
      traffic.next("GetItem", async perform => {
        await held;
        return perform();
      });
      const first = store.get("a");
      await new Promise(setImmediate);
      expect(await store.get("b")).not.toBeNull();
      answer();
      expect(await first).not.toBeNull();
    });

    it("ask again for the keys that DynamoDB leaves unprocessed", async () => {
      const store = context.open();
      const some = sids(20);
      await saveAll(store, some);
      traffic.next("BatchGetItem", leave(...some.slice(5)));
      const requests = await traffic.requestsDuring(() => Promise.all(some.map(sid => find(store, sid))));
      expect(requests.map(keysOf).map(keys => keys.length)).toEqual([20, 15]);
    });

    it("do not wait for a key that DynamoDB throttles", async () => {
      const store = context.open();
      await saveAll(store, ["a", "hot"]);
      let cool = () => {};
      const cooled = new Promise<void>(resolve => {
        cool = resolve;
      });
      traffic.next("BatchGetItem", leave("hot"));
      traffic.next("BatchGetItem", async perform => {
        await cooled;
        return perform();
      });
      const hot = store.get("hot");
      expect(await Promise.all([store.get("a"), store.get("none")])).toEqual([expect.anything(), null]);
      cool();
      expect(await hot).not.toBeNull();
    });

    it("fail for a key that stays throttled, and for that alone", async () => {
      const store = context.open();
      await saveAll(store, ["a", "hot"]);
      traffic.next("BatchGetItem", leave("hot"));
      traffic.next("BatchGetItem", () => Promise.reject(new Error("throttled")));
      const [a, hot] = await Promise.allSettled([store.get("a"), store.get("hot")]);
      expect(a).toMatchObject({ status: "fulfilled", value: expect.anything() });
      expect(hot).toMatchObject({ status: "rejected", reason: { code: "ERR_STORE_UNAVAILABLE" } });
    });

    it("that share a request, and the repetition of that, run in no caller's AsyncLocalStorage context", async () => {
      const requestId = new AsyncLocalStorage<string>();
      const seen: unknown[] = [];
      const base = context.engine.connect();
      base.middlewareStack.add(
        next => args => {
          seen.push(requestId.getStore());
          return next(args);
        },
        { step: "deserialize" },
      );
      trafficOfDynamoDB(base).next("BatchGetItem", leave("hot"));
      const store = context.open({ client: base });
      await saveAll(context.open(), ["a", "hot"]);
      const read = (sid: string) =>
        requestId.run(`request of ${sid}`, async () => {
          await store.get(sid);
          return requestId.getStore();
        });
      expect(await Promise.all([read("a"), read("hot")])).toEqual(["request of a", "request of hot"]);
      expect(seen).toEqual([undefined, undefined]);
      base.destroy();
    });

    it.each([true, false])("are consistent if consistentRead is %s", async consistentRead => {
      const store = context.open(consistentRead ? {} : { consistentRead });
      await saveAll(store, ["a", "b"]);
      const requests = await traffic.requestsDuring(async () => {
        await store.get("a");
        await Promise.all([store.get("a"), store.get("b")]);
        await store.length();
      });
      const asked = requests.map(({ input }) => (input.RequestItems?.[tableName] ?? input).ConsistentRead);
      expect(requests.map(({ name }) => name)).toEqual(["GetItem", "BatchGetItem", ...Array(4).fill("Scan")]);
      expect(asked).toEqual(Array(6).fill(consistentRead));
    });

    it("that a refused save needs are consistent even if consistentRead is false", async () => {
      const store = context.open({ consistentRead: false });
      await saveAll(store, ["sid"]);
      const session = await load(store, "sid");
      await store.destroy("sid");
      const requests = await traffic.requestsDuring(() => store.set("sid", session));
      expect(requests).toMatchObject([
        { name: "PutItem" },
        { name: "GetItem", input: { ConsistentRead: true } },
      ]);
    });
  });
}

/** Returns the keys that a BatchGetItem requests. */
function keysOf({ input }: Request): string[] {
  const [table] = Object.values(input.RequestItems) as [{ Keys: { id: { S: string } }[] }];
  return table.Keys.map(({ id }) => id.S);
}
