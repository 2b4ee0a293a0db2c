import type { SessionData } from "express-session";
import { Clock } from "../../lib/conformance/clock.js";
import { eventsOf } from "../../lib/conformance/observe.js";
import {
  fieldsOf,
  find,
  load,
  plain,
  requestSession,
  stored,
  type TestSession,
} from "../../lib/conformance/sessions.js";
import { type AbstractStore, StoreError } from "../../lib/index.js";
import { type AppRequest, Browser, createApp } from "../helpers/apps/app.js";
import { backends, useBackend } from "../helpers/stores/backends.js";

/*
 * Sessions that an attacker or a mistake can create. The store rejects each one with a documented code and leaves the
 * record unchanged, or returns it as JSON defines it.
 */

type Fields = Record<string, unknown>;

/** Makes fields as JSON does, where a key `__proto__` is an own property. */
const parsed = (text: string): Fields => JSON.parse(text);

function nested(levels: number): Fields {
  let value: Fields = {};
  for (let level = 1; level < levels; level++) value = { value };
  return value;
}

function isSerializable(value: unknown): boolean {
  try {
    return typeof JSON.stringify(value) === "string";
  } catch {
    return false;
  }
}

const cycle: Fields = {};
cycle.self = { cycle };

const refuse = () => {
  throw new Error("no");
};

const MEGABYTE = 1024 * 1024;

const polluting = {
  "a key __proto__": parsed('{"__proto__":{"polluted":1}}'),
  "a key __proto__ that is no object": parsed('{"__proto__":"polluted"}'),
  "a key constructor": parsed('{"constructor":{"prototype":{"polluted":1}}}'),
  "a key prototype": parsed('{"prototype":{"polluted":1}}'),
  "all of them, nested": parsed(
    '{"form":{"__proto__":{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}}}',
  ),
  "them in arrays": parsed('{"list":[{"__proto__":{"polluted":1}},{"constructor":{"prototype":[]}}]}'),
  "names of Object's methods": parsed(
    '{"hasOwnProperty":1,"toString":null,"valueOf":"x","isPrototypeOf":{},"__defineGetter__":1,"then":1}',
  ),
};

const unusual = {
  "lone surrogates in keys and values": {
    "\ud800": "\udfff",
    "a\udc00b": ["\ud83d", "\ude00"],
    "😀": "\ud800x",
  },
  "an empty key, and keys that look like positions": {
    "": { "": "" },
    0: 0,
    "-1": -1,
    "1e3": 1000,
    length: 3,
  },
  "control characters": { "\0": "\0", "\n": "\u2028\u2029", "\u007f": "\ufeff\ufffe\uffff" },
  "2,000 keys": Object.fromEntries(Array.from({ length: 2000 }, (_, index) => [`${index}`, 0])),
  "500 nested levels": { deep: nested(500) },
  "huge and tiny numbers": {
    numbers: [
      Number.MAX_VALUE,
      Number.MIN_VALUE,
      -0,
      2 ** 53,
      -(2 ** 63),
      1e21,
      0.1 + 0.2,
      Number.MAX_SAFE_INTEGER,
    ],
  },
  "numbers that JSON does not have": {
    numbers: [Number.NaN, Number.POSITIVE_INFINITY, -Number.POSITIVE_INFINITY],
  },
  "dates, valid and not": { date: new Date(0), far: new Date(8.64e15), invalid: new Date(Number.NaN) },
  "what JSON leaves out": {
    none: undefined,
    run: () => 1,
    symbol: Symbol("s"),
    [Symbol("key")]: 1,
    list: [undefined],
  },
  "collections, bytes and boxes": {
    map: new Map([["a", 1]]),
    set: new Set([1]),
    bytes: Buffer.from("ab"),
    typed: new Uint16Array(2),
    boxed: [Object("text"), Object(1), Object(true)],
    pattern: /a/g,
    error: new Error("e"),
  },
  "objects without a prototype, or with one of their own": {
    bare: Object.assign(Object.create(null), { a: 1 }),
    inheriting: Object.create({ inherited: 1 }),
  },
  "a sparse array": { list: Object.assign([], { 3: "d" }) },
  "a getter": Object.defineProperty({}, "got", {
    enumerable: true,
    configurable: true,
    get: () => ({ a: 1 }),
  }),
  "a hidden field": Object.defineProperty({}, "hidden", { enumerable: false, value: 1 }),
  "values whose toJSON gives something else": {
    text: { toJSON: () => "text" },
    none: { toJSON: () => undefined },
    object: { toJSON: () => ({ a: [1] }) },
    key: { toJSON: (key: string) => key },
  },
  "a toJSON that is no function": { toJSON: "text" },
};

const unserializable = {
  "a cycle": cycle,
  "a BigInt": { big: 1n, deep: { big: [2n] } },
  "a getter that throws": Object.defineProperty({}, "got", {
    enumerable: true,
    configurable: true,
    get: refuse,
  }),
  // JSON.stringify of Node.js 26 needs no stack for them, so that they are like other sessions.
  ...(isSerializable(nested(10_000)) ? {} : { "10,000 nested levels": { deep: nested(10_000) } }),
  "a value whose toJSON throws": { value: { toJSON: refuse } },
  "a toJSON that throws": { toJSON: refuse },
  "a toJSON that gives nothing": { toJSON: () => undefined },
  "a toJSON that gives null": { toJSON: () => null },
  "a toJSON that gives a text": { toJSON: () => "session" },
  "a toJSON that gives a number": { toJSON: () => 1 },
  "a toJSON that gives an array": { toJSON: () => [{ cookie: {} }] },
};

/** Defines the fields instead of assigning them. The test must not set a prototype, and getters must stay getters. */
function withFields<S extends object>(session: S, fields: Fields): S {
  const descriptors = Object.getOwnPropertyDescriptors(fields);
  for (const key of Reflect.ownKeys(descriptors)) {
    Object.defineProperty(session, key, {
      ...descriptors[key as string],
      configurable: true,
    } as PropertyDescriptor);
  }
  return session;
}

const asJson = (value: unknown) => JSON.parse(JSON.stringify(value));

const prototypes = [Object.prototype, Array.prototype, Function.prototype, String.prototype];
const prototypeKeys = () => prototypes.map(Reflect.ownKeys);
const untouched = prototypeKeys();

describe.each(backends)("sessions in $name", backend => {
  const createStore = useBackend(backend);
  let store: AbstractStore;

  beforeEach(() => {
    store = createStore({ timeoutMs: 20_000 });
  });
  afterEach(() => {
    expect(prototypeKeys()).toEqual(untouched);
    expect(({} as Fields).polluted).toBeUndefined();
  });

  /** The sessions that requests save, and the changes of other requests in the meantime. */
  const ways: Record<string, () => Promise<{ session: TestSession; others: Fields }>> = {
    "a new session": async () => ({ session: plain(), others: {} }),
    "a new session of a request": async () => ({
      session: requestSession(store, "sid", plain()) as TestSession,
      others: {},
    }),
    async "a session that was loaded"() {
      await store.set("sid", plain());
      return { session: (await load(store, "sid")) as TestSession, others: {} };
    },
    async "a session that another request changed"() {
      await store.set("sid", plain());
      const session = await find(store, "sid");
      await store.set("sid", Object.assign(await load(store, "sid"), { other: 1 }));
      return { session, others: { other: 1 } };
    },
    async "a session that was saved after another request had changed it"() {
      await store.set("sid", plain());
      const session = await find(store, "sid");
      await store.set("sid", Object.assign(await load(store, "sid"), { other: 1 }));
      await store.set("sid", Object.assign(session, { own: 1 }));
      return { session, others: { other: 1 } };
    },
  };

  describe.each(Object.entries({ ...polluting, ...unusual }))("%s", (_name, fields) => {
    it.each(Object.entries(ways))("comes back in %s as JSON has it", async (_way, begin) => {
      const { session, others } = await begin();
      withFields(session, fields);
      await store.set("sid", session);
      // The cookie is merged by field, so that a request adds the fields of a Cookie to those of plain data.
      const expected = { ...asJson(fieldsOf(session)), ...others };
      const found = await find(store, "sid");
      expect(asJson(fieldsOf(found))).toEqual(expected);
      expect(Object.keys(found).sort()).toEqual([...Object.keys(expected), "cookie"].sort());
      expect(Object.getPrototypeOf(found)).toBe(Object.prototype);
      expect((await store.all()).map(listed => asJson(fieldsOf(listed)))).toEqual([
        { ...expected, id: "sid" },
      ]);
    });

    it("stays as it is through changes of other fields, whoever makes them", async () => {
      await store.set("sid", withFields(plain({ one: 0, two: 0 }), fields));
      const expected = asJson(withFields(plain({ one: 1, two: 2 }), fields));
      const [one, two] = [await find(store, "sid"), await find(store, "sid")];
      const conflicts = eventsOf(store, "conflict");
      await store.set("sid", Object.assign(one, { one: 1 }));
      await store.set("sid", Object.assign(two, { two: 2 }));
      expect((await conflicts()).map(({ keys }) => keys)).toEqual([[]]);
      expect(asJson(await find(store, "sid"))).toEqual(expected);
    });
  });

  describe.each(Object.entries(unserializable))("%s", (_name, fields) => {
    it.each(Object.entries(ways))("is refused in %s, and leaves what is stored", async (_way, begin) => {
      const { session } = await begin();
      const before = await stored(store, "sid");
      const saving = store.set("sid", withFields(session, fields));
      await expect(saving).rejects.toBeInstanceOf(StoreError);
      await expect(saving).rejects.toMatchObject({ code: "ERR_SESSION_SERIALIZE" });
      expect(await stored(store, "sid")).toEqual(before);
      // The store continues to work.
      await store.set("sid", plain({ after: 1 }));
      expect(await stored(store, "sid")).toEqual({ after: 1 });
    });
  });

  it("a session whose toJSON gives another one is that one", async () => {
    const other = { cookie: { originalMaxAge: null }, user: "ann" };
    for (const given of [other, { user: "ann" }]) {
      await store.set("sid", withFields(plain({ user: "ben" }), { toJSON: () => given }));
      expect(await find(store, "sid")).toEqual(given);
    }
  });

  // The depth depends on the stack: Node.js 20 stores 3,000 levels and cannot compare them.
  it.each([2000, 3000, 4000, 10_000].filter(levels => isSerializable(nested(levels))))(
    "%i nested levels are merged, or refused and leave what is stored",
    async levels => {
      const fields = { deep: nested(levels), views: 0 };
      await store.set("sid", plain(fields));
      const [one, two] = [await find(store, "sid"), await find(store, "sid")];
      await store.set("sid", Object.assign(one, { views: 1 }));
      const saving = store.set("sid", Object.assign(two, { other: 1 }));
      const code = await saving.then(
        () => "saved",
        error => error.code,
      );
      expect(["saved", "ERR_SESSION_SERIALIZE"]).toContain(code);
      const found = await find(store, "sid");
      expect(JSON.stringify(found.deep)).toBe(JSON.stringify(fields.deep));
      expect([found.views, found.other]).toEqual([1, code === "saved" ? 1 : undefined]);
    },
  );

  describe("a cookie.expires that cannot be read counts as none", () => {
    const expiries = {
      "a symbol": Symbol("never"),
      "an object whose valueOf throws": { valueOf: refuse },
      "an object that cannot become a primitive": { valueOf: () => ({}), toString: () => ({}) },
    };

    it.each(Object.entries(expiries))("%s", async (_name, value) => {
      const expires = value as unknown as Date;
      const clock = new Clock();
      const short = createStore({ ttl: 10, touchAfter: 0, now: clock.now });
      await short.set("new", plain({ user: "ann" }, expires));
      await short.set("loaded", plain());
      const session = await load(short, "loaded");
      session.cookie.expires = expires;
      await short.set("loaded", session);
      clock.advance(5);
      await short.touch("new", plain({}, expires));
      await short.touch("loaded", session);
      clock.advance(9.999);
      expect((await short.ids()).sort()).toEqual(["loaded", "new"]);
      expect(await stored(short, "new")).toEqual({ user: "ann" });
      clock.advance(0.001);
      expect(await short.ids()).toEqual([]);
    });

    it("a getter that throws: a touch prolongs by ttl, a save is refused", async () => {
      const session = Object.defineProperty({} as SessionData, "cookie", { enumerable: true, get: refuse });
      await store.set("sid", plain({ user: "ann" }));
      await store.touch("sid", session);
      await expect(store.set("sid", session)).rejects.toMatchObject({ code: "ERR_SESSION_SERIALIZE" });
      expect(await stored(store, "sid")).toEqual({ user: "ann" });
    });
  });

  it.each(Object.entries(unserializable))("a touch does not mind %s", async (_name, fields) => {
    await store.set("sid", plain({ user: "ann" }));
    await store.touch("sid", withFields(plain(), fields));
    await store.touch("sid", withFields(await load(store, "sid"), fields));
    expect(await stored(store, "sid")).toEqual({ user: "ann" });
  });

  describe("of a megabyte", () => {
    /** DynamoDB's limit is 400 KB. The other limits are higher. */
    const fits = !backend.name.startsWith("DynamoDB");

    async function expectSaved(sid: string, session: SessionData): Promise<void> {
      const before = await store.get(sid);
      const expected = fits ? asJson(session) : before;
      const saving = store.set(sid, session);
      if (fits) await saving;
      else await expect(saving).rejects.toMatchObject({ code: "ERR_SESSION_TOO_LARGE" });
      expect(await store.get(sid)).toEqual(expected);
    }

    it("a key comes back, or is refused and leaves what is stored", async () => {
      const large = { ["k".repeat(MEGABYTE)]: 1 };
      await expectSaved("new", plain(large));
      await store.set("loaded", plain({ user: "ann" }));
      const session = await find(store, "loaded");
      await expectSaved("loaded", Object.assign(session, large));
    });

    it("a sid is as good as any, unless it does not fit", async () => {
      const sid = "\u{1f600}".repeat(MEGABYTE / 4);
      await expectSaved(sid, plain({ user: "ann" }));
      expect(await store.ids()).toEqual(fits ? [sid] : []);
      await store.touch(sid, plain());
      await store.destroy(sid);
      expect(await store.get(sid)).toBeNull();
    });
  });

  it("sids of lone surrogates are told apart, and come back", async () => {
    const sids = [
      "\ud800",
      "\udc00",
      "\ud800\ud800",
      "\ufffd",
      "\udc00\ud800",
      "a\ud800",
      "\ud83d\ude00",
      "%ud800",
    ];
    for (const sid of sids) await store.set(sid, plain({ sid }));
    for (const sid of sids) expect(await stored(store, sid)).toEqual({ sid });
    expect((await store.ids()).sort()).toEqual([...sids].sort());
    for (const sid of sids) await store.destroy(sid);
    expect(await store.length()).toBe(0);
  });

  it("a request's JSON body in a session reaches no other request's objects", async () => {
    const body =
      '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"toJSON":{"polluted":1}}';
    const routes = {
      "POST /keep": (req: AppRequest) => {
        req.session.form = parsed(body);
      },
      "GET /polluted": (req: AppRequest) => [req.session.polluted ?? null, ({} as Fields).polluted ?? null],
    };
    const browser = new Browser(createApp(store, { routes }));
    await browser.send("POST /sign-in?user=ann");
    await browser.send("POST /keep");
    expect((await browser.send("GET /polluted")).body).toEqual([null, null]);
    const { text } = await browser.send("GET /");
    expect(JSON.parse(text).form).toEqual(parsed(body));
    expect(Object.keys(JSON.parse(text)).sort()).toEqual(["form", "user"]);
  });
});
