import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { requestSession, type TestSession, unusualSids } from "../../lib/conformance/sessions.js";
import type { AbstractStore } from "../../lib/index.js";
import { type Conflict, type Held, ModelStore, newHeld, type Rules, type SessionJson } from "./model.js";

/** Stores by name: the first two are on one backend and have one prefix, which begins that of the third. */
const storeNames = ["a", "a2", "ab"] as const;
type StoreName = (typeof storeNames)[number];

/** What is the same for all commands of a run. */
export interface Setting {
  rules: Rules;
  /** What the commands mean by s0, s1 and s2. */
  sids: string[];
}

/** A request that holds a session: r0, r1, r2. */
interface ModelRequest {
  store: StoreName;
  held: Held;
}

export interface Model {
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
  /** How far the stores' clean-up reaches; `undefined` if the backend does it by itself. */
  cleanup: "prefix" | "backend" | undefined;
}

type Command = fc.AsyncCommand<Model, Real>;

interface Change {
  fields: Record<string, unknown>;
  remove: string[];
  cookie: CookieChange;
}

/** Milliseconds from now until the cookie expires; no expiry; the cookie stays as it is. */
type CookieChange = number | "none" | "kept";

const START = Date.UTC(2030, 0, 1);

// The first of each more often, so that commands meet.
const storeName = fc.constantFrom<StoreName[]>("a", "a", "a2", "a2", "ab");
const slot = fc.constantFrom(0, 0, 1, 1, 2);
const sidIndex = fc.constantFrom(0, 0, 0, 1, 2);

const key = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom("x", "y", "z") },
  { weight: 1, arbitrary: fc.constantFrom("", "0", "__proto__", "constructor", "toJSON", "\ud800") },
);
const value = fc.oneof(
  { weight: 4, arbitrary: fc.nat(3) },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2, stringUnit: "binary" }) },
  {
    weight: 1,
    arbitrary: fc
      .constant('{"__proto__":{"x":1},"constructor":{"prototype":{"x":1}}}')
      .map(text => JSON.parse(text)),
  },
);
const fields = fc.dictionary(key, value, { maxKeys: 3, noNullPrototype: true });

/** Often the same, so that expiries meet. */
const lifetime = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(600_000, 10_000, 1000, 60_000) },
  { weight: 1, arbitrary: fc.integer({ min: -1, max: 1_000_000 }) },
);
const newCookie: fc.Arbitrary<CookieChange> = fc.oneof(lifetime, fc.constant("none"));
const cookieChange: fc.Arbitrary<CookieChange> = fc.oneof(
  { weight: 2, arbitrary: fc.constant("kept") },
  { weight: 2, arbitrary: lifetime },
  { weight: 1, arbitrary: fc.constant("none") },
);
const change: fc.Arbitrary<Change> = fc.record({
  fields,
  remove: fc.array(key, { maxLength: 1 }),
  cookie: cookieChange,
});

const sid = fc.oneof(
  { weight: 3, arbitrary: fc.stringMatching(/^[A-Za-z0-9_-]{1,32}$/) },
  { weight: 1, arbitrary: fc.constantFrom(...unusualSids) },
  { weight: 1, arbitrary: fc.string({ unit: "binary", minLength: 1 }) },
  { weight: 1, arbitrary: fc.array(fc.integer({ min: 0xd7f0, max: 0xe010 }), { minLength: 1 }).map(toText) },
);

export const settings: fc.Arbitrary<Setting> = fc.record({
  rules: fc
    .record({
      conflict: fc.constantFrom("merge", "merge", "merge", "overwrite", "error"),
      ttl: fc.constantFrom(600, 10, 0.25),
      touchAfter: fc.constantFrom(undefined, 0, 60, 0.5),
      absoluteTimeout: fc.constantFrom(undefined, undefined, 100, 1000),
      disableTouch: fc.constantFrom(false, false, false, false, true),
    })
    .map(rules => ({ ...rules, touchAfter: rules.disableTouch ? undefined : rules.touchAfter })),
  sids: fc.uniqueArray(sid, { minLength: 3, maxLength: 3 }),
});

/** The state that commands begin with. `autoTouchAfter`: of the backend, where the option is left out. */
export function begin(setting: Setting, autoTouchAfter: number | undefined): Model {
  const rules = { ...setting.rules, touchAfter: setting.rules.touchAfter ?? autoTouchAfter };
  const model: Omit<Model, "stores"> = { now: START, sids: setting.sids, conflicts: [], requests: [] };
  const open = () =>
    new ModelStore(
      rules,
      () => model.now,
      conflict => model.conflicts.push(conflict),
    );
  const a = open();
  return Object.assign(model, { stores: { a, a2: a, ab: open() } });
}

function command(text: string, run: Command["run"], check: Command["check"] = () => true): Command {
  return { check, run, toString: () => text };
}

/** A command for what request `index` holds. */
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

const create = fc
  .record({ name: storeName, sid: sidIndex, fields, cookie: newCookie, text: fc.boolean() })
  .map(({ name, sid, fields, cookie, text }) =>
    command(`${name}.set(s${sid}, ${show(fields, cookie)})`, async (model, real) => {
      const session = newSession(fields, cookie, model.now, text);
      model.stores[name].set(sidOf(model, sid), json(session));
      await real.stores[name].set(sidOf(model, sid), session);
      await checkSession(model, real, name, sidOf(model, sid));
    }),
  );

/** A new session of a request, which may be saved at once. */
const createRequest = fc
  .record({ name: storeName, sid: sidIndex, slot, fields, cookie: newCookie, saved: fc.boolean() })
  .map(({ name, sid, slot, fields, cookie, saved }) => {
    const text = `r${slot} = ${name}.createSession(s${sid}, ${show(fields, cookie)})`;
    return command(saved ? `${text}; save(r${slot})` : text, async (model, real) => {
      const data = newSession(fields, cookie, model.now, false);
      const session = requestSession(real.stores[name], sidOf(model, sid), data);
      const request = { store: name, held: newHeld(sidOf(model, sid)) };
      real.requests[slot] = session;
      model.requests[slot] = request;
      if (saved) await saveRequest(request, session, model, real);
    });
  });

const load = fc
  .record({ name: storeName, sid: sidIndex, slot, asSession: fc.boolean() })
  .map(({ name, sid, slot, asSession }) => {
    const text = `${name}.${asSession ? "load" : "get"}(s${sid})`;
    return command(`r${slot} = ${text}`, async (model, real) => {
      const data = await real.stores[name].get(sidOf(model, sid));
      assert.deepEqual(data, model.stores[name].get(sidOf(model, sid)));
      const held = model.stores[name].load(sidOf(model, sid));
      if (data === null || held === null) return;
      const session = asSession ? requestSession(real.stores[name], sidOf(model, sid), data) : data;
      real.requests[slot] = session as TestSession;
      model.requests[slot] = { store: name, held };
    });
  });

const save = fc.record({ slot, change }).map(({ slot, change }) =>
  requestCommand(slot, `save(r${slot}, ${showChange(change)})`, async (request, session, model, real) => {
    apply(change, session, model.now);
    await saveRequest(request, session, model, real);
  }),
);

async function saveRequest(
  { store, held }: ModelRequest,
  session: TestSession,
  model: Model,
  real: Real,
): Promise<void> {
  const expected = model.stores[store].set(held.sid, json(session), held);
  const saving = real.stores[store].set(held.sid, session);
  if (expected === "refused") await assert.rejects(saving, { code: "ERR_SESSION_CONFLICT" });
  else await saving;
  await checkSession(model, real, store, held.sid);
}

/** Under another sid than it was loaded from, where it is a new session. */
const saveAs = fc.record({ slot, sid: sidIndex }).map(({ slot, sid }) =>
  requestCommand(
    slot,
    `save(r${slot} as s${sid})`,
    async ({ store }, session, model, real) => {
      model.stores[store].set(sidOf(model, sid), json(session));
      await real.stores[store].set(sidOf(model, sid), session);
      await checkSession(model, real, store, sidOf(model, sid));
    },
    ({ held }, model) => held.entry !== undefined && held.sid !== sidOf(model, sid),
  ),
);

const touch = fc.record({ slot, change }).map(({ slot, change }) =>
  requestCommand(
    slot,
    `touch(r${slot}, ${showChange(change)})`,
    async ({ store, held }, session, model, real) => {
      apply(change, session, model.now);
      model.stores[store].touch(held.sid, json(session), held);
      await real.stores[store].touch(held.sid, session);
      await checkSession(model, real, store, held.sid);
    },
  ),
);

const touchPlain = fc
  .record({ name: storeName, sid: sidIndex, fields, cookie: newCookie })
  .map(({ name, sid, fields, cookie }) =>
    command(`${name}.touch(s${sid}, ${show(fields, cookie)})`, async (model, real) => {
      const session = newSession(fields, cookie, model.now, false);
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

/** To a time at which something happens, the millisecond before, or the one after. */
const advanceTo = fc
  .record({ pick: fc.nat(5), beside: fc.constantFrom(-1, 0, 0, 1) })
  .map(({ pick, beside }) => {
    const target = (model: Model) => {
      const all = [...model.stores.a.boundaries(), ...model.stores.ab.boundaries()].map(
        time => time + beside,
      );
      const ahead = all.filter(time => time > model.now).sort((one, other) => one - other);
      return ahead[pick];
    };
    return command(
      `advance to boundary ${pick} ${beside < 0 ? "- 1 ms" : `+ ${beside} ms`}`,
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
    const expected = reached.reduce((removed, cleaned) => removed + cleaned.cleanup(), 0);
    assert.equal(await store.cleanup(), expected);
  }),
);

const times = (count: number, commands: fc.Arbitrary<Command>) =>
  Array.from({ length: count }, () => commands);

export function commandLists(maxCommands: number, replayPath?: string) {
  const commands = [
    ...times(6, save),
    ...times(4, load),
    ...times(2, create),
    ...times(2, createRequest),
    ...times(2, touch),
    ...times(2, advanceTo),
    ...[advance, get, saveAs, touchPlain, destroy, clear, list, cleanup],
  ];
  return fc.commands(commands, { maxCommands, size: "max", ...(replayPath !== undefined && { replayPath }) });
}

/** Compares all that can be seen of the stores. */
export async function checkEverything(model: Model, real: Real): Promise<void> {
  for (const name of storeNames) {
    await checkListings(model.stores[name], real.stores[name]);
    for (const sid of model.sids) await checkSession(model, real, name, sid);
  }
  // Events come on a later tick.
  await turn();
  assert.deepEqual(real.conflicts.map(sorted), model.conflicts.map(sorted), "the events `conflict`");
  assert.deepEqual(Object.keys(Object.prototype), [], "the prototype of all objects");
}

async function checkSession(model: Model, real: Real, name: StoreName, sid: string): Promise<void> {
  assert.deepEqual(await real.stores[name].get(sid), model.stores[name].get(sid));
}

async function checkListings(model: ModelStore, store: AbstractStore): Promise<void> {
  const expected = model.list().sort(bySid);
  const entries: [string, unknown][] = [];
  for await (const entry of store.entries()) entries.push(entry);
  assert.deepEqual(entries.sort(bySid), expected);
  assert.deepEqual((await store.ids()).sort(), expected.map(([sid]) => sid).sort());
  assert.equal(await store.length(), expected.length);
  const all = (await store.all()).map(session => [session.id, session] as [string, unknown]);
  assert.deepEqual(
    all.sort(bySid),
    expected.map(([id, session]) => [id, { ...session, id }]),
  );
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

/** A plain session with the cookie that express-session makes: only its expiry ever differs. */
function newSession(
  fields: Record<string, unknown>,
  life: CookieChange,
  now: number,
  text: boolean,
): TestSession {
  const expires = typeof life === "number" ? new Date(now + life) : null;
  const cookie = {
    originalMaxAge: null,
    httpOnly: true,
    path: "/",
    expires: text ? expires?.toJSON() : expires,
  };
  return setFields({ cookie } as unknown as TestSession, fields);
}

/** Defined and not assigned, since `__proto__` is one of the keys. */
function setFields(session: TestSession, fields: Record<string, unknown>): TestSession {
  for (const [key, value] of Object.entries(fields)) {
    Object.defineProperty(session, key, { value, writable: true, enumerable: true, configurable: true });
  }
  return session;
}

function apply({ fields, remove, cookie }: Change, session: TestSession, now: number): void {
  setFields(session, fields);
  for (const key of remove) delete session[key];
  if (cookie === "kept") return;
  session.cookie.expires = cookie === "none" ? null : new Date(now + cookie);
  // express-session's Cookie takes it from the real clock.
  session.cookie.originalMaxAge = null;
}

function json(session: object): SessionJson {
  return JSON.parse(JSON.stringify(session));
}

function show(fields: Record<string, unknown>, cookie: CookieChange): string {
  const life = typeof cookie === "number" ? `in ${cookie} ms` : cookie;
  return `${JSON.stringify(fields)}, cookie.expires: ${life}`;
}

function showChange({ fields, remove, cookie }: Change): string {
  return `${show(fields, cookie)}${remove.length > 0 ? `, delete ${JSON.stringify(remove)}` : ""}`;
}

function toText(units: number[]): string {
  return String.fromCharCode(...units);
}
