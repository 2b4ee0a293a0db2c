// The operations of a request, on a contender: each phase checks what the one before has written.
import { measure } from "./measure.js";
import { assertSession, inflate, MAX_AGE_MS, newSession, newSid } from "./sessions.js";

export const OPERATIONS = ["set new", "get", "set loaded", "touch", "destroy"];

/** A contender from a session store, used with callbacks as express-session does. */
export function fromStore(store, close = () => {}) {
  return {
    store,
    set: (sid, session, callback) => store.set(sid, session, callback),
    save: (sid, session, callback) => store.set(sid, session, callback),
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
    save: withCallback(set),
    get: withCallback(get),
    touch: withCallback(touch),
    destroy: withCallback(destroy),
    close,
  };
}

function read(contender, sid) {
  return new Promise((resolve, reject) => {
    // session-file-store says ENOENT for a session that is not there, which express-session takes for none.
    contender.get(sid, (error, data) => (error && error.code !== "ENOENT" ? reject(error) : resolve(data)));
  });
}

/** All operations on `count` sessions, `inFlight` at a time. */
export async function runOperations(contender, count, inFlight) {
  const { store } = contender;
  const sids = Array.from({ length: count }, newSid);
  const sessions = sids.map(sid => newSession(sid, store));
  const results = {};

  results["set new"] = await measure(count, inFlight, (index, done) =>
    contender.set(sids[index], sessions[index], done),
  );

  const found = new Array(count);
  results.get = await measure(count, inFlight, (index, done) =>
    contender.get(sids[index], (error, data) => {
      found[index] = data;
      done(error);
    }),
  );
  found.forEach((data, index) => {
    assertSession(data, sids[index], 0);
  });

  const loaded = found.map((data, index) => {
    const session = store ? inflate(sids[index], store, data) : data;
    session.number = 1;
    session.check = `${sids[index]}/1`;
    return session;
  });
  results["set loaded"] = await measure(count, inFlight, (index, done) =>
    contender.save(sids[index], loaded[index], done),
  );

  if (store) for (const session of loaded) session.cookie.maxAge = 2 * MAX_AGE_MS;
  results.touch = await measure(count, inFlight, (index, done) =>
    contender.touch(sids[index], loaded[index], done),
  );
  for (const sid of sids) {
    const data = await read(contender, sid);
    assertSession(data, sid, 1);
    const left = Date.parse(data.cookie.expires) - Date.now();
    if (store && contender.touchIsRead !== false && left < 1.5 * MAX_AGE_MS) throw new Error("not touched");
  }

  results.destroy = await measure(count, inFlight, (index, done) => contender.destroy(sids[index], done));
  for (const sid of sids.slice(0, 5)) {
    if (await read(contender, sid)) throw new Error("not destroyed");
  }
  return results;
}
