// The operations of a request, on a contender: each phase checks what the one before has written.
import { setTimeout as delay, setImmediate as nextTurn } from "node:timers/promises";
import { measure, summary } from "./measure.js";
import { assertSession, inflate, newSession, newSid, plainStore } from "./sessions.js";

export const OPERATIONS = ["set new", "get", "set loaded", "touch", "destroy"];

/** No more sessions at a time than this: collecting the benchmark's own garbage would be what is measured. */
const WORKING_SET = 250;

/** For how long each contender runs at a time, in ms: a process that serves requests has been compiled long ago. */
const RUN_MS = 1500;

const TOUCH_DELAY_MS = 3;

/** A contender from a session store, used with callbacks as express-session does. */
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

/** A contender from a raw client, whose methods return promises or values. */
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
    // session-file-store says ENOENT for a session that is not there, which express-session takes for none.
    contender.get(sid, (error, data) => (error && error.code !== "ENOENT" ? reject(error) : resolve(data)));
  });
}

/** All operations on one working set after the other, `inFlight` at a time, for `runMs`. */
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

/** All operations on one working set. `before` and `after` are called around each with its name. */
export async function runOnce(contender, inFlight, { before, after } = {}) {
  const { store = plainStore } = contender;
  const sids = Array.from({ length: WORKING_SET }, newSid);
  const sessions = sids.map(sid => newSession(sid, store));
  const results = {};
  const phase = async (name, operation) => {
    // What V8 has put off until the event loop turns, such as garbage collection, is not the next operation's doing.
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

  // As express-session does it at the end of a request, here some milliseconds later than the save.
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
    // Not MAX_AGE_MS: express-session's Cookie reads its own clock twice and may come to a millisecond less.
    const isTouched = Date.parse(data.cookie.expires) >= saved + data.cookie.originalMaxAge;
    if (contender.touchIsRead !== false && !isTouched) throw new Error("not touched");
  }

  await phase("destroy", (index, done) => contender.destroy(sids[index], done));
  // Some are enough: session-file-store takes a quarter of a second to find nothing.
  const gone = await Promise.all(sids.slice(0, 64).map(sid => get(contender, sid)));
  if (gone.some(Boolean)) throw new Error("not destroyed");
  return results;
}
