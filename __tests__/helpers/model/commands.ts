import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { requestSession, type TestSession } from "../../../lib/conformance/sessions.js";
import type { AbstractStore } from "../../../lib/index.js";
import {
  type Conflict,
  type Held,
  ModelBackend,
  ModelStore,
  newHeld,
  type Saved,
  type Unknown,
} from "./contract.js";
import {
  change,
  fields,
  newCookie,
  type Setting,
  type StoreName,
  sidIndex,
  slot,
  storeName,
  storeNames,
} from "./generators.js";
import type { SessionJson } from "./merging.js";
import { applyChange, copyOf, json, newSession, show, showChange } from "./session-objects.js";

/** A request that holds a session: r0, r1, r2. */
interface ModelRequest {
  store: StoreName;
  held: Held;
  /** Whether the request holds a `Session`, and not the object that the store returned. */
  isSession: boolean;
}

export interface Model {
  /** The true time. */
  now: number;
  sids: string[];
  stores: Record<StoreName, ModelStore>;
  requests: (ModelRequest | undefined)[];
  conflicts: Conflict[];
}

export interface Real {
  stores: Record<StoreName, AbstractStore>;
  requests: (TestSession | undefined)[];
  conflicts: Conflict[];
  /** What a sweep of the stores covers. `undefined` if the backend deletes ended sessions by itself. */
  cleanup: "prefix" | "backend" | undefined;
}

type Command = fc.AsyncCommand<Model, Real>;

const START = Date.UTC(2030, 0, 1);

/** The state at the beginning. `autoTouchAfter` is the backend's value if the option is left out. */
export function begin({ rules, sids, ahead }: Setting, autoTouchAfter: number | undefined): Model {
  const model: Omit<Model, "stores"> = { now: START, sids, conflicts: [], requests: [] };
  const open = (backend: ModelBackend, storeAhead: number) => {
    const clock = { trueNow: () => model.now, ahead: storeAhead, spread: Math.abs(ahead) };
    const touchAfter = rules.touchAfter ?? autoTouchAfter;
    return new ModelStore(backend, { ...rules, touchAfter }, clock, conflict =>
      model.conflicts.push(conflict),
    );
  };
  const shared = new ModelBackend();
  const stores = { a: open(shared, 0), a2: open(shared, ahead), ab: open(new ModelBackend(), 0) };
  return Object.assign(model, { stores });
}

function command(text: string, run: Command["run"], check: Command["check"] = () => true): Command {
  return { check, run, toString: () => text };
}

/** A command on the session that request `index` holds. */
function requestCommand(
  index: number,
  text: string,
  run: (request: ModelRequest, session: TestSession, model: Model, real: Real) => Promise<void>,
  check: (request: ModelRequest, model: Readonly<Model>) => boolean = () => true,
): Command {
  return command(
    text,
    (model, real) =>
      run(model.requests[index] as ModelRequest, real.requests[index] as TestSession, model, real),
    model => {
      const request = model.requests[index];
      return request !== undefined && check(request, model);
    },
  );
}

const get = fc
  .record({ name: storeName, sid: sidIndex })
  .map(({ name, sid }) =>
    command(`${name}.get(s${sid})`, (model, real) => checkSession(model, real, name, sidOf(model, sid))),
  );

/** A script stores plain data. */
const setPlain = fc
  .record({ name: storeName, sid: sidIndex, fields, cookie: newCookie, text: fc.boolean() })
  .map(({ name, sid, fields, cookie, text }) =>
    command(`${name}.set(s${sid}, ${show(fields, cookie)})`, async (model, real) => {
      const session = newSession(fields, cookie, model.stores[name].now, text);
      await save(model, real, name, sidOf(model, sid), session, "plain");
    }),
  );

/** A request creates a session, and may save it immediately. */
const createRequest = fc
  .record({ name: storeName, sid: sidIndex, slot, fields, cookie: newCookie, saved: fc.boolean() })
  .map(({ name, sid, slot, fields, cookie, saved }) => {
    const text = `r${slot} = ${name}.createSession(s${sid}, ${show(fields, cookie)})`;
    return command(saved ? `${text}; save(r${slot})` : text, async (model, real) => {
      const data = newSession(fields, cookie, model.stores[name].now, false);
      const session = requestSession(real.stores[name], sidOf(model, sid), data);
      const request = { store: name, held: newHeld(sidOf(model, sid)), isSession: true };
      real.requests[slot] = session;
      model.requests[slot] = request;
      if (saved) await save(model, real, name, sidOf(model, sid), session, request.held);
    });
  });

const ways = ["get", "load", "load", "load", "all", "entries"] as const;

const load = fc
  .record({ name: storeName, sid: sidIndex, slot, way: fc.constantFrom(...ways) })
  .map(({ name, sid, slot, way }) =>
    command(`r${slot} = ${name}.${way}(s${sid})`, async (model, real) => {
      const store = real.stores[name];
      const data = await find(store, sidOf(model, sid), way);
      const expected = model.stores[name].get(sidOf(model, sid));
      const listedId = way === "all" ? { id: sidOf(model, sid) } : {};
      assert.deepEqual(data, expected && { ...expected, ...listedId });
      const held = model.stores[name].load(sidOf(model, sid));
      if (data === null || held === null) return;
      if (way === "all") held.ownId = expected !== null && "id" in expected ? { id: expected.id } : {};
      const isSession = way === "load";
      real.requests[slot] = isSession ? requestSession(store, held.sid, data) : data;
      model.requests[slot] = { store: name, held, isSession };
    }),
  );

async function find(store: AbstractStore, sid: string, way: (typeof ways)[number]) {
  if (way === "all") {
    return ((await store.all()).find(({ id }) => id === sid) ?? null) as TestSession | null;
  }
  if (way === "entries") {
    let found: TestSession | null = null;
    for await (const [id, session] of store.entries()) if (id === sid) found = session as TestSession;
    return found;
  }
  return (await store.get(sid)) as TestSession | null;
}

/** The object that a request gives to the store: its session, or another object that stands for the session. */
const guise = fc.constantFrom("", "", "", "", "spread ", "proxy ") as fc.Arbitrary<"" | "spread " | "proxy ">;

const saveRequest = fc.record({ slot, change, guise }).map(({ slot, change, guise }) =>
  requestCommand(
    slot,
    `save(${guise}r${slot}, ${showChange(change)})`,
    async ({ store, held, isSession }, session, model, real) => {
      applyChange(change, session, model.stores[store].now);
      const isOther = isSession && held.entry !== undefined;
      const given =
        !isOther || guise === "" ? session : guise === "spread " ? { ...session } : proxyOf(session);
      await save(model, real, store, held.sid, given, held);
    },
  ),
);

/** Wraps the session like libraries that wrap `req.session`. The cookie is wrapped as well. */
function proxyOf(session: TestSession): TestSession {
  return new Proxy(session, {
    get: (target, key) => {
      const value = Reflect.get(target, key);
      return key === "cookie" ? new Proxy(value, {}) : value;
    },
  });
}

/** The response begins, and the cookie gets its expiry. The save follows at the end of the response. */
const beginResponse = slot.map(slot =>
  requestCommand(slot, `begin response(r${slot})`, async ({ store }, session, model) => {
    applyChange({ fields: {}, remove: [], cookie: { does: "touch" } }, session, model.stores[store].now);
  }),
);

const saveCopy = fc.record({ slot, change }).map(({ slot, change }) =>
  requestCommand(
    slot,
    `save(structuredClone(r${slot}), ${showChange(change)})`,
    async ({ store, held }, session, model, real) => {
      const copy = copyOf(session);
      applyChange(change, copy, model.stores[store].now);
      await save(model, real, store, held.sid, copy, "copy");
    },
    ({ isSession }) => isSession,
  ),
);

/** Saves under another sid than the one it was loaded from, where it is a new session. */
const saveAs = fc.record({ slot, sid: sidIndex }).map(({ slot, sid }) =>
  requestCommand(
    slot,
    `save(r${slot} as s${sid})`,
    async ({ store, isSession }, session, model, real) => {
      const holder = isSession ? newHeld(sidOf(model, sid)) : "_expires" in session.cookie ? "copy" : "plain";
      // From now on, the session belongs to the other sid.
      if (isSession) model.requests[slot] = undefined;
      await save(model, real, store, sidOf(model, sid), session, holder);
    },
    ({ held }, model) => held.entry !== undefined && held.sid !== sidOf(model, sid),
  ),
);

const touch = fc.record({ slot, change }).map(({ slot, change }) =>
  requestCommand(
    slot,
    `touch(r${slot}, ${showChange(change)})`,
    async ({ store, held }, session, model, real) => {
      applyChange(change, session, model.stores[store].now);
      const expected = model.stores[store].touch(held.sid, jsonOf(session, held), held);
      await settle(real.stores[store].touch(held.sid, session), expected);
      await checkSession(model, real, store, held.sid);
    },
  ),
);

const touchPlain = fc
  .record({ name: storeName, sid: sidIndex, fields, cookie: newCookie })
  .map(({ name, sid, fields, cookie }) =>
    command(`${name}.touch(s${sid}, ${show(fields, cookie)})`, async (model, real) => {
      const session = newSession(fields, cookie, model.stores[name].now, false);
      model.stores[name].touch(sidOf(model, sid), json(session));
      await real.stores[name].touch(sidOf(model, sid), session);
      await checkSession(model, real, name, sidOf(model, sid));
    }),
  );

const destroy = fc.record({ name: storeName, sid: sidIndex }).map(({ name, sid }) =>
  command(`${name}.destroy(s${sid})`, async (model, real) => {
    model.stores[name].destroy(sidOf(model, sid));
    await real.stores[name].destroy(sidOf(model, sid));
    await checkSession(model, real, name, sidOf(model, sid));
  }),
);

const clear = storeName.map(name =>
  command(`${name}.clear()`, async (model, real) => {
    model.stores[name].clear();
    await real.stores[name].clear();
  }),
);

const list = storeName.map(name =>
  command(`${name}.list()`, async (model, real) => {
    await checkListings(model.stores[name], real.stores[name]);
  }),
);

const advance = fc
  .oneof(fc.constantFrom(1000, 10_000, 60_000, 600_000), fc.integer({ min: 1, max: 1_000_000 }))
  .map(milliseconds =>
    command(`advance by ${milliseconds} ms`, async model => {
      model.now += milliseconds;
    }),
  );

/** Advances to a time at which something happens, the millisecond before, or the one after. */
const advanceTo = fc
  .record({
    name: fc.constantFrom<StoreName[]>("a", "a", "a2", "ab"),
    pick: fc.nat(5),
    beside: fc.constantFrom(-1, 0, 0, 1),
  })
  .map(({ name, pick, beside }) => {
    const target = (model: Model) => {
      const store = model.stores[name];
      const ahead = store.boundaries().map(time => time + beside - (store.now - model.now));
      return ahead.filter(time => time > model.now).sort((one, other) => one - other)[pick];
    };
    return command(
      `advance to boundary ${pick} of ${name} ${beside < 0 ? "- 1 ms" : `+ ${beside} ms`}`,
      async model => {
        model.now = target(model) as number;
      },
      model => target(model) !== undefined,
    );
  });

const cleanup = storeName.map(name =>
  command(`${name}.cleanup()`, async (model, real) => {
    const store = real.stores[name] as AbstractStore & { cleanup?(): Promise<number> };
    if (store.cleanup === undefined || real.cleanup === undefined) return;
    const reached = real.cleanup === "prefix" ? [model.stores[name]] : [model.stores.a, model.stores.ab];
    const { now } = model.stores[name];
    const expected = reached.reduce((removed, cleaned) => removed + cleaned.cleanup(now), 0);
    assert.equal(await store.cleanup(), expected);
  }),
);

const times = (count: number, commands: fc.Arbitrary<Command>) =>
  Array.from({ length: count }, () => commands);

export function commandLists(maxCommands: number, replayPath?: string) {
  const commands = [
    ...times(7, saveRequest),
    ...times(5, load),
    ...times(2, setPlain),
    ...times(2, createRequest),
    ...times(4, touch),
    ...times(2, advanceTo),
    ...times(2, advance),
    ...[get, saveAs, saveCopy, touchPlain, destroy, clear, list, cleanup, beginResponse],
  ];
  return fc.commands(commands, { maxCommands, size: "max", ...(replayPath !== undefined && { replayPath }) });
}

/** Compares everything that callers can see of the stores. */
export async function checkEverything(model: Model, real: Real): Promise<void> {
  for (const name of storeNames) {
    await checkListings(model.stores[name], real.stores[name]);
    for (const sid of model.sids) await checkSession(model, real, name, sid);
  }
  // Events are emitted on a later tick.
  await turn();
  assert.deepEqual(real.conflicts.map(sorted), model.conflicts.map(sorted), "the events `conflict`");
  assert.deepEqual(Object.keys(Object.prototype), [], "the prototype of all objects");
}

async function save(
  model: Model,
  real: Real,
  name: StoreName,
  sid: string,
  session: TestSession,
  holder: Held | Unknown,
): Promise<void> {
  const expected = model.stores[name].set(sid, jsonOf(session, holder), holder);
  await settle(real.stores[name].set(sid, session), expected);
  await checkSession(model, real, name, sid);
}

async function settle(saving: Promise<void>, expected: Saved): Promise<void> {
  if (expected === "refused") await assert.rejects(saving, { code: "ERR_SESSION_CONFLICT" });
  else await saving;
}

async function checkSession(model: Model, real: Real, name: StoreName, sid: string): Promise<void> {
  assert.deepEqual(
    withOneExpiry(await real.stores[name].get(sid)),
    withOneExpiry(model.stores[name].get(sid)),
  );
}

/** A clone of a Cookie has `_expires` in place of `expires`. Which of the two a merged cookie has is not promised. */
function withOneExpiry<Session extends object | null>(session: Session): Session {
  const { cookie } = (session ?? {}) as { cookie?: { _expires?: unknown } };
  if (typeof cookie !== "object" || cookie === null || !("_expires" in cookie)) return session;
  const { _expires, ...others } = cookie;
  return { ...session, cookie: { expires: _expires, ...others } };
}

async function checkListings(model: ModelStore, store: AbstractStore): Promise<void> {
  const expected = model
    .list()
    .map(([sid, session]) => [sid, withOneExpiry(session)] as [string, SessionJson])
    .sort(bySid);
  const entries: [string, unknown][] = [];
  for await (const [sid, session] of store.entries()) entries.push([sid, withOneExpiry(session)]);
  assert.deepEqual(entries.sort(bySid), expected);
  assert.deepEqual((await store.ids()).sort(), expected.map(([sid]) => sid).sort());
  assert.equal(await store.length(), expected.length);
  const all = (await store.all()).map(session => [session.id, withOneExpiry(session)] as [string, unknown]);
  assert.deepEqual(
    all.sort(bySid),
    expected.map(([id, session]) => [id, { ...session, id }]),
  );
}

/** The session without the `id` that `all()` has set, and with its own if it had one. */
function jsonOf(session: TestSession, holder: Held | Unknown): SessionJson {
  const { id, ...others } = json(session);
  const isListed = typeof holder === "object" && holder.ownId !== undefined && id === holder.sid;
  return isListed ? ({ ...others, ...holder.ownId } as SessionJson) : json(session);
}

function bySid([one]: [string, unknown], [other]: [string, unknown]): number {
  return one < other ? -1 : 1;
}

function sorted({ reason, keys }: Conflict): Conflict {
  return { reason, keys: [...keys].sort() };
}

function sidOf(model: Model, index: number): string {
  return model.sids[index] as string;
}
