import { randomBytes } from "node:crypto";
import { deflateRawSync } from "node:zlib";
import { eventsOf } from "../../../lib/conformance/observe.js";
import { load, plain, sids, stored, type TestSession } from "../../../lib/conformance/sessions.js";
import { type Item, sizeOf } from "../../../lib/dynamodb/items.js";
import type { DynamoDBStore } from "../../../lib/dynamodb/store.js";
import { type Context, MAX_ITEM_BYTES, saveAll } from "./context.js";

const incompressible = (length: number) => randomBytes(length).toString("base64").slice(0, length);
const compressible = (length: number) => "All work and no play. ".repeat(length).slice(0, length);

export function testSizes(context: Context): void {
  const { traffic } = context;

  /** A session whose item is one byte too large for DynamoDB, according to the store's error. */
  async function tooLargeByOne(store: DynamoDBStore, fill: string): Promise<TestSession & { pad: string }> {
    const session = { ...plain({ text: fill.repeat(390_000 / Buffer.byteLength(fill)) }), pad: "" };
    const sizes: number[] = [];
    for (let pad = 30_000; sizes.length < 20; ) {
      session.pad = "x".repeat(pad);
      const error = await store.set("sid", session).then(
        () => undefined,
        (rejected: Error & { code: string }) => rejected,
      );
      expect(error?.code).toBe("ERR_SESSION_TOO_LARGE");
      expect(error?.message).toMatch(/DynamoDB's limit for an item of 409600 bytes/);
      const size = Number(/(\d+) bytes/.exec(error?.message ?? "")?.[1]);
      sizes.push(size);
      // Twice, because the version may grow with a write.
      if (size === MAX_ITEM_BYTES + 1 && sizes.at(-2) === size) break;
      pad += MAX_ITEM_BYTES + 1 - size;
    }
    return session;
  }

  describe("sizes", () => {
    it.each(["x", "世"])("a session of '%s' whose item has exactly 400 KB is saved", async fill => {
      const store = context.open();
      const session = await tooLargeByOne(store, fill);
      session.pad = session.pad.slice(1);
      await store.set("sid", session);
      expect(sizeOf((await context.itemOf("sid")) as Item)).toBe(MAX_ITEM_BYTES);
      expect(await stored(store, "sid")).toMatchObject({ text: session.text });
    });

    it("a session that is a byte larger is rejected before it is sent, and the record stays", async () => {
      const store = context.open();
      await saveAll(store, ["sid"], { user: "ann" });
      const before = await context.itemOf("sid");
      const requests = await traffic.during(async () => {
        await tooLargeByOne(store, "x");
        const loaded = Object.assign(await load(store, "sid"), { text: "x".repeat(MAX_ITEM_BYTES) });
        await expect(store.set("sid", loaded)).rejects.toMatchObject({ code: "ERR_SESSION_TOO_LARGE" });
      });
      expect(new Set(requests)).toEqual(new Set(["GetItem"]));
      expect(await context.itemOf("sid")).toEqual(before);
    });

    if (context.engine.limitsResponses) {
      it("large sessions are read and listed although a response has 16 MB of them at most", async () => {
        const store = context.open();
        const some = sids(45);
        const text = "x".repeat(390_000);
        await saveAll(store, some, { text });
        const requests = await traffic.during(async () => {
          const found = await Promise.all(some.map(sid => stored(store, sid)));
          expect(found).toEqual(Array(45).fill({ text }));
        });
        expect(requests).toEqual(["BatchGetItem", "BatchGetItem"]);
        expect(await store.length()).toBe(45);
        await store.clear();
      });
    }
  });

  describe("compression", () => {
    it.each([
      ["one unit anyway", compressible(600)],
      ["no fewer units", incompressible(1500)],
    ])("is not worth it if the session takes %s", async (_what, text) => {
      const store = context.open({ compression: "deflate" });
      const session = plain({ text });
      await store.set("sid", session);
      expect((await context.itemOf("sid"))?.data).toBe(JSON.stringify(session));
    });

    it("lets a session of more than 400 KB be saved that deflates to less, up to 4 MB", async () => {
      const store = context.open({ compression: "deflate" });
      const text = compressible(4_000_000);
      await store.set("sid", plain({ text }));
      expect(await stored(store, "sid")).toEqual({ text });
      for (const tooLarge of [compressible(5_000_000), incompressible(600_000)]) {
        await expect(store.set("sid", plain({ text: tooLarge }))).rejects.toMatchObject({
          code: "ERR_SESSION_TOO_LARGE",
        });
      }
      expect(await stored(store, "sid")).toEqual({ text });
    });

    it.each([
      ["do not inflate", Buffer.from("no deflate stream")],
      ["are cut off", deflateRawSync(Buffer.from(JSON.stringify(plain()))).subarray(0, -5)],
      ["inflate to more than a session may have", deflateRawSync(Buffer.alloc(64 * 1024 * 1024, " "))],
    ])("data that %s are absent, reported, and left as they are", async (_what, data) => {
      const store = context.open();
      const corrupt = eventsOf(store, "corrupt");
      const now = context.clock.now();
      await context.putItem({ id: `${context.prefix}sid`, data, ttl: 2e9, l: 1e6, a: now, c: now, v: "1.1" });
      expect(await store.get("sid")).toBeNull();
      expect(await store.all()).toEqual([]);
      expect(await corrupt()).toHaveLength(2);
      expect(Buffer.from((await context.itemOf("sid"))?.data as Uint8Array)).toEqual(data);
    });
  });
}
