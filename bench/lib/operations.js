// The operations of a request on a contender. Each phase checks what the phase before has written.
import { setTimeout as delay, setImmediate as nextTurn } from "node:timers/promises";
import { measure, summary } from "./measure.js";
import { assertSession, inflate, newSession, newSid, plainStore } from "./sessions.js";

export const OPERATIONS = ["set new", "get", "set loaded", "touch", "destroy"];

/** The most sessions at a time. With more, the garbage of the benchmark itself would be measured. */
const WORKING_SET = 250;

/** How long each contender runs at a time, in ms. Short runs would measure code that V8 has not compiled yet. */
const RUN_MS = 1500;

const TOUCH_DELAY_MS = 3;

/** Makes a contender from a session store, called with callbacks as express-session does. */
export function fromStore(store, close = () => {}) {
  return {
    store,
    set: (sid, session, callback) => store.set(sid, session, callback),
    get: (sid, callback) => store.get(sid, callback),
    touch: (sid, session, callback) => store.touch(sid, session, callback),
    destroy: (sid, callback) => store.destroy(sid, callback),
    close,
  };
}

/** Makes a contender from a raw client, whose methods return promises or values. */
export function fromClient({ set, get, touch = set, destroy, close = () => {} }) {
  const withCallback =
    method =>
    (...args) => {
      const callback = args.pop();
      Promise.resolve(method(...args)).then(value => callback(null, value), callback);
    };
  return {
    set: withCallback(set),
    get: withCallback(get),
    touch: withCallback(touch),
    destroy: withCallback(destroy),
    close,
  };
}

export function set(contender, sid, session) {
  return new Promise((resolve, reject) => {
    contender.set(sid, session, error => (error ? reject(error) : resolve()));
  });
}

export function get(contender, sid) {
  return new Promise((resolve, reject) => {
    // session-file-store reports a missing session as ENOENT, which express-session treats as no session.
    contender.get(sid, (error, data) => (error && error.code !== "ENOENT" ? reject(error) : resolve(data)));
  });
}

/** Runs all operations on one working set after the other, `inFlight` at a time, for `runMs`. */
export async function runOperations(contender, inFlight, runMs = RUN_MS) {
  globalThis.gc();
  const phases = Object.fromEntries(OPERATIONS.map(name => [name, []]));
  const end = performance.now() + runMs;
  while (performance.now() < end) {
    const measured = await runOnce(contender, inFlight);
    for (const name of OPERATIONS) phases[name].push(measured[name]);
  }
  return Object.fromEntries(OPERATIONS.map(name => [name, summary(phases[name])]));
}

/** Runs all operations on one working set. Calls `before` and `after` around each operation, with its name. */
export async function runOnce(contender, inFlight, { before, after } = {}) {
  const { store = plainStore } = contender;
  const sids = Array.from({ length: WORKING_SET }, newSid);
  const sessions = sids.map(sid => newSession(sid, store));
  const results = {};
  const phase = async (name, operation) => {
    // Work that V8 deferred to the next turn of the event loop, such as garbage collection, must not count for the next
    // operation.
    await nextTurn();
    before?.(name);
    results[name] = await measure(WORKING_SET, inFlight, operation);
    after?.(name, WORKING_SET);
  };

  await phase("set new", (index, done) => contender.set(sids[index], sessions[index], done));

  const found = new Array(WORKING_SET);
  await phase("get", (index, done) =>
    contender.get(sids[index], (error, data) => {
      found[index] = data;
      done(error);
    }),
  );
  const loaded = found.map((data, index) => {
    assertSession(data, sids[index], 0);
    const session = inflate(sids[index], store, data);
    session.number = 1;
    session.check = `${sids[index]}/1`;
    return session;
  });

  await phase("set loaded", (index, done) => contender.set(sids[index], loaded[index], done));

  // As at the end of a request in express-session, here some milliseconds after the save.
  await delay(TOUCH_DELAY_MS);
  const saved = Date.now();
  for (const session of loaded) session.touch();
  await phase("touch", (index, done) => contender.touch(sids[index], loaded[index], done));
  await measure(WORKING_SET, 64, (index, done) =>
    contender.get(sids[index], (error, data) => {
      found[index] = data;
      done(error);
    }),
  );
  for (const [index, data] of found.entries()) {
    assertSession(data, sids[index], 1);
    // Not MAX_AGE_MS, because express-session's Cookie reads the clock twice and may be a millisecond short.
    const isTouched = Date.parse(data.cookie.expires) >= saved + data.cookie.originalMaxAge;
    if (contender.touchIsRead !== false && !isTouched) throw new Error("not touched");
  }

  await phase("destroy", (index, done) => contender.destroy(sids[index], done));
  // A sample is enough, because session-file-store takes a quarter of a second for each missing session.
  const gone = await Promise.all(sids.slice(0, 64).map(sid => get(contender, sid)));
  if (gone.some(Boolean)) throw new Error("not destroyed");
  return results;
}
