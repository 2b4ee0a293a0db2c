import type { SessionData } from "express-session";
import { isTombstone, type RecordWrite } from "../../../lib/index.js";
import { type Fault, replace, replaceWritten, YEARS_MS } from "./fault.js";

const DESTROYED = "destroyed sessions";
const UNTRACKED = "untracked session objects";

const copyOf = (session: SessionData) => ({ ...session, cookie: { ...session.cookie } });

/**
 * Stores that break promises about sessions: that destroying is final, that changes are merged, and that copies are
 * safe.
 */
export const sessionFaults: Fault[] = [
  {
    does: "brings back what was destroyed",
    caughtBy: [
      DESTROYED,
      "a session destroyed while a request ran is not brought back by its save (conflict: merge)",
      "a session that was cleared is not brought back",
      "a new Session that is destroyed after its first save is not brought back by its second",
    ],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const current = store.stored(key);
        const isGone = current === undefined || isTombstone(current);
        return isGone ? store.put(key, argument.record) : write(key, argument);
      }),
  },
  {
    does: "takes a session that was created again for the one that was loaded",
    caughtBy: [
      DESTROYED,
      "a session created again under the same sid is not overwritten by a request of the old one (conflict: overwrite)",
    ],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const result = write(key, argument);
        const current = store.stored(key);
        if (result.written || current === undefined || isTombstone(current)) return result;
        return store.put(key, argument.record);
      }),
  },
  {
    does: "brings back a session that ended long ago",
    caughtBy: [
      DESTROYED,
      "a session that ended a minute ago is not brought back (touchAfter: 0, conflict: merge)",
      "a session that ended a minute ago is not brought back (touchAfter: 30, conflict: overwrite)",
    ],
    breakStore: store =>
      replace(
        store,
        "_write",
        write => (key, argument) =>
          write(key, { ...argument, condition: { ...argument.condition, activeFrom: -YEARS_MS * 10_000 } }),
      ),
  },
  {
    does: "removes the new session when a request ends the old one",
    caughtBy: ["set", "a removal by a past expiry does not remove a new session with the same id"],
    breakStore: store =>
      replace(store, "set", set => async (sid, session: SessionData, last) => {
        const { originalMaxAge } = session.cookie ?? {};
        if (originalMaxAge === 0) await store.destroy(sid);
        return set(sid, session, last);
      }),
  },
  {
    does: "forgets what a request has loaded",
    caughtBy: ["merge", "a save without changes, as with resave, leaves what others changed"],
    breakStore: store =>
      replace(store, "createSession", create => (req, data) => create(req, structuredClone(data))),
  },
  {
    does: "writes over what another request changed",
    caughtBy: ["merge", "two requests that change different keys lose nothing"],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const current = store.stored(key);
        const isAlive = current !== undefined && !isTombstone(current);
        return isAlive && !argument.condition.absent ? store.put(key, argument.record) : write(key, argument);
      }),
  },
  {
    does: "merges the cookie as one value",
    caughtBy: [
      "merge",
      "two requests that change different fields of the cookie lose nothing",
      "a field of the cookie that both changed takes the later save's value, and event conflict names it",
    ],
    breakStore: store => {
      let cookie: unknown;
      replace(store, "set", set => (sid, session: SessionData, last) => {
        cookie = session.cookie;
        return set(sid, session, last);
      });
      replaceWritten(store, record => {
        const data = JSON.stringify({ ...JSON.parse(record.data), cookie });
        return { ...record, data };
      });
    },
  },
  {
    does: "says nothing of conflicts",
    caughtBy: ["merge", "a key that both changed takes the later save's value, and event conflict names it"],
    breakStore: store => replace(store, "emit", () => () => false),
  },
  {
    does: "says nothing of conflicts in the cookie",
    caughtBy: [
      "merge",
      "a field of the cookie that both changed takes the later save's value, and event conflict names it",
    ],
    breakStore: store =>
      replace(store, "emit", emit => (name, event) => {
        const keys = event.keys?.filter((key: string) => !key.startsWith("cookie"));
        return emit(name, { ...event, keys });
      }),
  },
  {
    does: "shows sids in its events",
    caughtBy: [DESTROYED, "event conflict says that the session is gone, and does not show its sid"],
    breakStore: store =>
      replace(store, "emit", emit => (name, event) => emit(name, { ...event, sidHash: "sid-secret" })),
  },
  {
    does: "calls a save of a session that it does not know a merge",
    caughtBy: [
      UNTRACKED,
      "a structuredClone of a Session is merged, and event conflict says that it is untracked",
      "of two new Sessions with one id none is lost, and event conflict says that one is untracked",
    ],
    breakStore: store =>
      replace(
        store,
        "emit",
        emit => (name, event) =>
          emit(name, event.reason === "untracked" ? { ...event, reason: "merged" } : event),
      ),
  },
  {
    does: "knows no copy of a Session",
    caughtBy: [
      UNTRACKED,
      "a Proxy of a Session does not bring back a session that was destroyed",
      "a deep Proxy of a Session does not bring back a session that was destroyed",
      "a spread of a Session does not bring back a session that was destroyed",
    ],
    breakStore: store =>
      replace(
        store,
        "set",
        set => (sid, session, last) => set(sid, JSON.parse(JSON.stringify(session)), last),
      ),
  },
  {
    does: "takes a structuredClone of a Session for data of a new one",
    caughtBy: [
      UNTRACKED,
      "a structuredClone of a Session does not bring back a session that was destroyed",
      "a structuredClone of a Session does not overwrite what another request changed",
    ],
    breakStore: store =>
      replace(store, "set", set => (sid, session, last) => {
        const isClone = Object.hasOwn(session.cookie ?? {}, "_expires") && !("save" in session);
        const { _expires: expires, ...cookie } = session.cookie ?? {};
        return set(sid, isClone ? { ...session, cookie: { ...cookie, expires } } : session, last);
      }),
  },
  {
    does: "takes a copy of a Session for data that replaces what is stored",
    caughtBy: [
      UNTRACKED,
      "a spread of a Session does not overwrite what another request changed",
      "a spread of a Session is merged as the Session itself",
      "a Proxy of a Session is merged as the Session itself",
    ],
    breakStore: store =>
      replace(
        store,
        "set",
        set => (sid, session, last) => set(sid, JSON.parse(JSON.stringify(session)), last),
      ),
  },
  {
    does: "loses one of two new Sessions with one id",
    caughtBy: [
      UNTRACKED,
      "of two new Sessions with one id none is lost, and event conflict says that one is untracked",
      "a new Session with the id of a stored one fails with conflict: error, and leaves the record",
    ],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const isFirst = argument.condition.absent && store.stored(key)?.lifetime !== 0;
        return isFirst ? store.put(key, argument.record) : write(key, argument);
      }),
  },
  {
    does: "forgets what it has listed",
    caughtBy: [
      UNTRACKED,
      "what all and entries return does not bring back a session that was destroyed",
      "what all and entries return is merged with what a request changed since",
    ],
    breakStore: store => {
      replace(store, "all", all => async last => (await all(last)).map(copyOf));
      replace(
        store,
        "entries",
        entries =>
          async function* (options) {
            for await (const [sid, session] of entries(options)) yield [sid, copyOf(session)];
          },
      );
    },
  },
  {
    does: "stores the id that a session was listed with",
    caughtBy: [UNTRACKED, "what all returns is saved without the id that it was listed with"],
    breakStore: store =>
      replace(store, "set", set => (sid, session, last) => {
        if (!("id" in session) || "req" in session) return set(sid, session, last);
        const toJSON = () => ({ ...session, id: sid });
        return set(sid, { ...session, id: undefined, toJSON }, last);
      }),
  },
  {
    does: "answers a conflict with success",
    caughtBy: [
      "conflict policies",
      "conflict: error rejects with ERR_SESSION_CONFLICT and leaves the record",
    ],
    breakStore: store =>
      replace(store, "set", set => async (sid, session, last) => {
        try {
          return await set(sid, session, last);
        } catch (error) {
          if ((error as { code?: unknown }).code !== "ERR_SESSION_CONFLICT") throw error;
        }
      }),
  },
  {
    does: "lets a later save of a Session overtake an earlier one",
    caughtBy: ["save queue", "saves of one Session queue and never conflict with each other"],
    breakStore: store => {
      let delay = 10;
      replace(store, "set", set => async (sid, session, last) => {
        const copy = copyOf(session);
        delay -= 1;
        await new Promise(resolve => setTimeout(resolve, delay));
        return await set(sid, copy, last);
      });
    },
  },
  {
    does: "shares one object between requests",
    caughtBy: ["get", "get returns a new object each time, so that requests share nothing"],
    breakStore: store => {
      let shared: unknown;
      replace(store, "get", get => async sid => {
        shared ??= await get(sid);
        return shared;
      });
    },
  },
  {
    does: "lets a getter of the cookie fail the save with its own error",
    caughtBy: [
      "set",
      "set rejects a cookie whose getters throw with ERR_SESSION_SERIALIZE and leaves the record",
    ],
    breakStore: store =>
      replace(store, "set", set => async (sid, session, last) => {
        void session.cookie?.expires;
        return await set(sid, session, last);
      }),
  },
];
