import { randomUUID } from "node:crypto";
import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { Clock } from "../../lib/conformance/clock.js";
import { intercept } from "../../lib/conformance/primitives.js";
import { load, plain, requestSession, respond } from "../../lib/conformance/sessions.js";
import { assertDevices, devicesOf, signIn, signInAll, userOf } from "../../lib/conformance/user-sessions.js";
import { DynamoDBStore } from "../../lib/dynamodb/store.js";
import type { AbstractStore, StoreOptions, UserEntry } from "../../lib/index.js";
import { dynamodbClient } from "../helpers/engines/engines.js";
import { useBackend } from "../helpers/stores/backends.js";
import { type Traffic, trafficOfDynamoDB } from "../helpers/stores/counting.js";
import { MapStore } from "../helpers/stores/map-store.js";
import { entriesOf, userBackends } from "../helpers/stores/users.js";

const HOUR_SECONDS = 60 * 60;
const LIMIT = { max: 1, onExceeded: "reject" } as const;

describe.each(userBackends)("with sessions in $name", backend => {
  const createStore = useBackend(backend);
  let clock: Clock;
  const open = (options: StoreOptions = {}) =>
    createStore({ user: userOf, now: clock.now, touchAfter: 0, ttl: 2 * HOUR_SECONDS, ...options });
  /** A store of a process whose clock is this many seconds ahead. */
  const openAhead = (seconds: number, options: StoreOptions = {}) =>
    open({ now: clock.ahead(seconds).now, ...options });

  beforeEach(() => {
    clock = new Clock();
  });

  it("a store does not list the sessions of a longer prefix", async () => {
    const [store, longer] = [open(), open({ prefix: "longer:" })];
    await signIn(longer, "s", "ann");
    expect(await devicesOf(store, "ann")).toEqual([]);
    expect(await store.destroyByUser("ann")).toBe(0);
    await assertDevices(longer, { ann: ["s"] });
  });

  it("a session that has ended but might be saved once more does not reject a sign-in", async () => {
    const store = open({ ttl: 100, maxSessionsPerUser: LIMIT });
    await signIn(store, "s", "ann");
    const slow = await load(store, "s");
    clock.advance(110);
    await signIn(store, "t", "ann");
    await store.set("s", Object.assign(slow, { cart: 1 }));
    await assertDevices(store, { ann: ["t"] });
    expect(await store.get("s")).toBeNull();
    await expect(signIn(store, "u", "ann")).rejects.toMatchObject({ code: "ERR_TOO_MANY_SESSIONS" });
  });

  /** Defines a test of two stores on one backend, which does not exist for memory. */
  const itShared = (name: string, body: () => Promise<void>) => backend.persistent && it(name, body);

  itShared("a listing on a host whose clock is ahead removes no entry that a slow save needs", async () => {
    const store = open({ ttl: 100 });
    await signIn(store, "s", "ann");
    const slow = await load(store, "s");
    clock.advance(130);
    await assertDevices(openAhead(45, { ttl: 100 }), { ann: [] });
    await store.set("s", Object.assign(slow, { cart: 1 }));
    await assertDevices(store, { ann: ["s"] });
  });

  itShared("destroyByUser on a host whose clock is ahead ends what a slow request could save", async () => {
    const store = open({ ttl: 100 });
    await signIn(store, "s", "ann");
    const slow = await load(store, "s");
    clock.advance(130);
    await openAhead(45, { ttl: 100 }).destroyByUser("ann");
    await store.set("s", Object.assign(slow, { cart: 1 }));
    expect(await store.get("s")).toBeNull();
  });

  itShared(
    "a save that moves a session to another form of its user is no way out of destroyByUser",
    async () => {
      const [first, second] = ["a", "b"].map(text => Buffer.alloc(32, text)) as [Buffer, Buffer];
      const old = open({ encryption: { keys: [first, second] } });
      const store = open({ encryption: { keys: [second, first] } });
      for (const primitive of ["_listUser", "_write"] as const) {
        await signIn(old, "s", "ann");
        const request = await load(store, "s");
        let isDone = false;
        // Between the reads of the two lists, or between the reads and the delete.
        intercept(
          store,
          primitive,
          (original: (...args: never[]) => unknown) =>
            (async (...args: never[]) => {
              const result = primitive === "_listUser" ? await original(...args) : undefined;
              if (!isDone) {
                isDone = true;
                await store.set("s", Object.assign(request, { cart: 1 }));
              }
              return primitive === "_listUser" ? result : await original(...args);
            }) as never,
        );
        expect(await store.destroyByUser("ann")).toBe(1);
        expect(await store.get("s")).toBeNull();
      }
    },
  );

  it("destroyByHandle fails if the session gets another user before it is destroyed", async () => {
    const store = open();
    await signIn(store, "s", "ann");
    const request = await load(store, "s");
    const found = await store.findByUser("ann").next();
    let isDone = false;
    intercept(
      store,
      "_write",
      (original: (...args: never[]) => unknown) =>
        (async (...args: never[]) => {
          if (!isDone) {
            isDone = true;
            await store.set("s", Object.assign(request, { user: "bob" }));
          }
          return original(...args);
        }) as never,
    );
    const ended = store.destroyByHandle("ann", found.value?.handle as string);
    await expect(ended).rejects.toMatchObject({ code: "ERR_SESSION_NOT_FOUND" });
    await assertDevices(store, { ann: [], bob: ["s"] });
  });

  itShared(
    "updateByUser counts a session that another process moves to another form of its user",
    async () => {
      const [first, second] = ["a", "b"].map(text => Buffer.alloc(32, text)) as [Buffer, Buffer];
      const old = open({ encryption: { keys: [first, second] } });
      const store = open({ encryption: { keys: [second, first] } });
      await signIn(old, "s", "ann");
      const request = await load(store, "s");
      const change = async (session: object) => {
        if (!("cart" in session)) await store.set("s", Object.assign(request, { cart: 1 }));
        Object.assign(session, { role: "guest" });
      };
      expect(await store.updateByUser("ann", change)).toBe(1);
      expect(await store.get("s")).toMatchObject({ cart: 1, role: "guest" });
    },
  );
});

/** The end of entries is simulated here: entries of a {@link MapStore} end as early as they may. */
describe("an entry that ends when it may", () => {
  let clock: Clock;
  let records: Map<string, string>;
  const open = (options: StoreOptions = {}) =>
    new MapStore({ user: userOf, now: clock.now, touchAfter: 0, ttl: 2 * HOUR_SECONDS, ...options }, records);

  beforeEach(() => {
    clock = new Clock();
    records = new Map();
  });

  /** As long as a session lives, its user finds it. */
  async function untilItEnds(store: AbstractStore, sid: string): Promise<number> {
    const from = clock.now();
    while ((await store.get(sid)) !== null) {
      expect(await entriesOf(store, "ann")).toContain(sid);
      await assertDevices(store, { ann: [sid] });
      clock.advance(60);
    }
    return (clock.now() - from) / 1000;
  }

  it.each([undefined, "bob"])(
    "is renewed by the touch of a request that loaded the session before the sign-in (user: %s)",
    async before => {
      const store = open();
      await store.set("s", requestSession(store, "s", plain({ user: before, device: "s" })));
      clock.advance(2 * HOUR_SECONDS - 60);
      const [slow, signingIn] = [await load(store, "s"), await load(store, "s")];
      await store.set("s", Object.assign(signingIn, { user: "ann" }));
      clock.advance(120);
      await store.touch("s", slow);
      for (let hour = 0; hour < 3; hour++) {
        clock.advance(0.5 * HOUR_SECONDS);
        await store.touch("s", await load(store, "s"));
      }
      expect(await untilItEnds(store, "s")).toBeGreaterThan(1.9 * HOUR_SECONDS);
    },
  );

  it.each<Record<"before" | "after", StoreOptions>>([
    { before: { absoluteTimeout: 3 * HOUR_SECONDS }, after: { absoluteTimeout: 48 * HOUR_SECONDS } },
    { before: { absoluteTimeout: 3 * HOUR_SECONDS }, after: {} },
    { before: {}, after: { touchAfter: HOUR_SECONDS } },
  ])("outlasts the session although the options change: $before, $after", async ({ before, after }) => {
    await signIn(open(before), "s", "ann");
    const store = open(after);
    clock.advance(2 * HOUR_SECONDS - 1);
    await store.touch("s", await load(store, "s"));
    expect(await untilItEnds(store, "s")).toBeGreaterThanOrEqual(2 * HOUR_SECONDS);
  });

  it.each([1, 30, 3600, 24 * 3600, 400 * 24 * 3600])(
    "is renewed as long as a session of %d s is used, and not often",
    async seconds => {
      const store = open({ touchAfter: undefined });
      const added: UserEntry[] = [];
      for (const primitive of ["_write", "_touch"] as const) {
        intercept(
          store,
          primitive,
          (original: (...args: never[]) => unknown) =>
            ((...args: never[]) => {
              const { entry } = args[1] as unknown as { entry?: UserEntry };
              if (entry !== undefined) added.push(entry);
              return original(...args);
            }) as never,
        );
      }
      const session = plain({ user: "ann", device: "s" });
      session.cookie.originalMaxAge = seconds * 1000;
      const created = requestSession(store, "s", session);
      respond(created, clock);
      await store.set("s", created);
      const steps = 200;
      for (let step = 0; step < steps; step++) {
        clock.advance(seconds * 0.9);
        const request = await load(store, "s");
        respond(request, clock);
        if (step % 7 === 0) await store.set("s", Object.assign(request, { step }));
        else await store.touch("s", request);
        if ((await devicesOf(store, "ann")).length !== 1) throw new Error(`Not listed after step ${step}`);
      }
      expect(added.length).toBeLessThanOrEqual((steps * 0.9 * seconds) / Math.max(seconds, HOUR_SECONDS) + 2);
    },
  );
});

describe("with sessions in DynamoDB Local, an item of a user", () => {
  const tableName = `test-${randomUUID()}`;
  let client: DynamoDBClient;
  let traffic: Traffic;
  let clock: Clock;
  let prefix: string;

  beforeAll(async () => {
    client = dynamodbClient();
    traffic = trafficOfDynamoDB(client);
    await open().createTable();
  });
  afterAll(() => client.destroy());
  beforeEach(() => {
    clock = new Clock();
    prefix = `${randomUUID()}:`;
  });
  const open = (options: StoreOptions = {}) =>
    new DynamoDBStore({
      user: userOf,
      now: clock?.now ?? Date.now,
      touchAfter: 0,
      client,
      tableName,
      prefix,
      ...options,
    });

  /** DynamoDB applies a transaction to one item after the other, so the next read of a session shows the old item. */
  const readTooEarly = () =>
    traffic.next("GetItem", perform => {
      traffic.next("GetItem", async readSession => ({ ...(await readSession()), body: {} }));
      return perform();
    });

  it("keeps the entry of a sign-in whose session can be read a moment later", async () => {
    const store = open();
    await signIn(store, "s", "ann");
    for (const list of [() => devicesOf(store, "ann"), () => store.destroyByUser("ann")]) {
      readTooEarly();
      await list();
      expect(traffic.forgetAwaited()).toEqual([]);
      const isLive = (await store.get("s")) !== null;
      expect(await devicesOf(store, "ann")).toEqual(isLive ? ["s"] : []);
    }
    expect(await store.get("s")).toBeNull();
  });

  it("counts a sign-in whose session can be read a moment later", async () => {
    const store = open({ maxSessionsPerUser: LIMIT });
    await signIn(store, "s", "ann");
    readTooEarly();
    await expect(signIn(store, "t", "ann")).rejects.toMatchObject({ code: "ERR_TOO_MANY_SESSIONS" });
  });

  it("does not grow with the use of its sessions", async () => {
    const store = open({ ttl: HOUR_SECONDS });
    await signInAll(store, "ann", "s", "t");
    for (let hours = 0; hours < 35; hours++) {
      clock.advance(0.9 * HOUR_SECONDS);
      for (const sid of ["s", "t"]) await store.touch(sid, await load(store, sid));
    }
    expect((await entriesOf(store, "ann")).length).toBeLessThan(55);
    await assertDevices(store, { ann: ["s", "t"] });
    expect(await store.destroyByUser("ann")).toBe(2);
    expect(await entriesOf(store, "ann")).toEqual([]);
  });
});
