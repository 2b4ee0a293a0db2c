import { type SessionData, Store } from "express-session";
import { Clock } from "../../lib/conformance/clock.js";
import { lasting, plain, respond } from "../../lib/conformance/sessions.js";
import { MemoryStore } from "../../lib/memory.js";
import { MigratingStore, type Stage } from "../../lib/migrate.js";
import { Gate } from "../helpers/apps/app.js";

const user = (each: object) => (each as { user?: string }).user;

type Done<T = unknown> = (error: unknown, value?: T) => void;

/** As connect-redis and most others: a touch moves the expiry of the record, and leaves the cookie in it. */
class OldStore extends Store {
  readonly records = new Map<string, { text: string; endsAt: number }>();
  readonly #clock: Clock;
  /** Called before each set. */
  beforeSet = async (): Promise<void> => {};

  constructor(clock: Clock) {
    super();
    this.#clock = clock;
  }

  override get(sid: string, done: Done<SessionData | null>): void {
    const record = this.#live(sid);
    done(null, record === undefined ? null : JSON.parse(record.text));
  }

  override set(sid: string, session: SessionData, done: Done): void {
    const record = { text: JSON.stringify(session), endsAt: this.#endOf(session) };
    void this.beforeSet().then(() => {
      this.records.set(sid, record);
      done(null);
    });
  }

  override touch(sid: string, session: SessionData, done: () => void): void {
    const record = this.#live(sid);
    if (record !== undefined) record.endsAt = this.#endOf(session);
    done();
  }

  override destroy(sid: string, done: Done): void {
    this.records.delete(sid);
    done(null);
  }

  override all(done: Done<Record<string, SessionData>>): void {
    done(null, Object.fromEntries([...this.records].map(([sid, { text }]) => [sid, JSON.parse(text)])));
  }

  #live(sid: string) {
    const record = this.records.get(sid);
    return record !== undefined && record.endsAt > this.#clock.now() ? record : undefined;
  }

  #endOf({ cookie }: SessionData): number {
    return this.#clock.now() + (cookie.originalMaxAge ?? 86_400_000);
  }
}

let clock: Clock;
let from: OldStore;
let to: MemoryStore;
const at = (stage: Stage) => new MigratingStore({ from, to, stage });

beforeEach(() => {
  clock = new Clock();
  from = new OldStore(clock);
  to = new MemoryStore({ now: clock.now, user });
});

async function load(store: Store, sid: string): Promise<SessionData & Record<string, unknown>> {
  return (await (store as MigratingStore).get(sid)) as never;
}

describe.each(["from", "from-first"] as const)("at %s, a session that touches kept alive", stage => {
  /** Used for longer than its lifetime of 1,000 s since its last save. */
  async function useFor3000s(store: MigratingStore): Promise<void> {
    for (let visits = 0; visits < 5; visits++) {
      clock.advance(600);
      const session = await load(store, "sid");
      respond(session, clock);
      await store.touch("sid", session);
    }
  }

  describe.each([true, false])("with a copy in the new store: %s,", hasCopy => {
    let store: MigratingStore;
    beforeEach(async () => {
      const first = hasCopy ? at("from-first") : at("from");
      await first.set("sid", lasting(1000, clock, { user: "ann" }));
      store = at(stage);
      await useFor3000s(store);
    });

    it("survives an explicit save before the response", async () => {
      const session = await load(store, "sid");
      // Its cookie says still what the last save said.
      await store.set("sid", Object.assign(session, { cart: 1 }));
      respond(session, clock);
      await store.touch("sid", session);
      expect(await load(at("to-first"), "sid")).toMatchObject({ user: "ann", cart: 1 });
      clock.advance(900);
      expect(await load(at("to-first"), "sid")).toMatchObject({ user: "ann", cart: 1 });
    });

    it("ends if a request sets its expiry into the past", async () => {
      const session = await load(store, "sid");
      session.cookie.expires = clock.in(-1);
      await store.set("sid", session);
      expect(await to.get("sid")).toBeNull();
    });
  });
});

function saveInOldStore(session: SessionData): Promise<void> {
  return new Promise(resolve => from.set("sid", session, () => resolve()));
}

describe("destroyByUser", () => {
  it.each(["from", "from-first"] as const)(
    "ends at %s what only the old store has for the user",
    async stage => {
      await at("from-first").set("sid", plain());
      // The write to the new store failed.
      await saveInOldStore(plain({ user: "ann" }));
      expect(await at(stage).destroyByUser("ann")).toBe(1);
      expect(await at("from-first").get("sid")).toBeNull();
      expect(from.records.size).toBe(0);
    },
  );

  it("spares the session of a handle that the new store has", async () => {
    const store = at("from-first");
    await store.set("spared", plain({ user: "ann" }));
    await store.set("other", plain({ user: "ann" }));
    for await (const { handle, isCurrent } of to.findByUser("ann", { current: "spared" })) {
      if (isCurrent) expect(await store.destroyByUser("ann", { except: handle })).toBe(1);
    }
    expect([...from.records.keys()]).toEqual(["spared"]);
  });

  it("leaves at to-first what has another user in the new store", async () => {
    await at("from-first").set("sid", plain({ user: "bob" }));
    await saveInOldStore(plain({ user: "ann" }));
    expect(await at("to-first").destroyByUser("ann")).toBe(0);
    expect(await load(at("to-first"), "sid")).toMatchObject({ user: "bob" });
  });
});

describe("a read at from-first of a session that is only in the new store", () => {
  let gate: Gate;
  let slow: Promise<SessionData | null>;
  const store = () => at("from-first");
  beforeEach(async () => {
    await at("to").set("sid", plain({ version: 1 }));
    gate = new Gate();
    from.beforeSet = () => {
      from.beforeSet = async () => {};
      return gate.pass();
    };
    slow = store().get("sid");
    await gate.reached;
  });

  it("leaves nothing in the old store if the session is destroyed meanwhile", async () => {
    await store().destroy("sid");
    gate.open();
    expect(await slow).toBeNull();
    expect(from.records.size).toBe(0);
  });

  it("undoes no save that is acknowledged meanwhile", async () => {
    const session = await load(store(), "sid");
    await store().set("sid", Object.assign(session, { version: 2 }));
    gate.open();
    expect(await slow).toMatchObject({ version: 2 });
    expect(await load(store(), "sid")).toMatchObject({ version: 2 });
  });
});

it("a merge at from leaves nothing in the old store if the session is destroyed meanwhile", async () => {
  await at("from-first").set("sid", plain());
  const store = at("from-first");
  const session = await load(store, "sid");
  await to.set("sid", Object.assign((await to.get("sid")) as SessionData, { other: 1 }));
  const gate = new Gate();
  let sets = 0;
  // The second set follows the merge.
  from.beforeSet = async () => {
    sets += 1;
    if (sets === 2) await gate.pass();
  };
  const saved = store.set("sid", Object.assign(session, { own: 1 }));
  await gate.reached;
  await store.destroy("sid");
  gate.open();
  await saved;
  expect(from.records.size).toBe(0);
});
