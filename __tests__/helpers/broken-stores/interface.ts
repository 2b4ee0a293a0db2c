import { type Fault, replace } from "./fault.js";

/** Stores whose methods break promises to their callers, about callbacks, arguments and errors. */
export const interfaceFaults: Fault[] = [
  {
    does: "calls back twice",
    caughtBy: ["callbacks", "destroy calls back once, on a later tick, with what its promise gives"],
    breakStore: store =>
      replace(store, "destroy", destroy => (sid, last) => {
        if (typeof last !== "function") return destroy(sid, last);
        return destroy(sid, (error: unknown) => {
          last(error);
          last(error);
        });
      }),
  },
  {
    does: "calls back synchronously",
    caughtBy: ["callbacks", "get calls back with null, not with an error, for a session that does not exist"],
    breakStore: store =>
      replace(store, "get", get => (sid, last) => {
        if (typeof last !== "function" || store.stored(store.prefix + sid)) return get(sid, last);
        return last(null, null);
      }),
  },
  {
    does: "calls a callback that throws a second time, with its own exception",
    caughtBy: ["callbacks", "get does not call a callback again that throws"],
    breakStore: store =>
      replace(store, "get", get => (sid, last) => {
        if (typeof last !== "function") return get(sid, last);
        return get(sid)
          .then((session: unknown) => last(null, session))
          .catch(last);
      }),
  },
  {
    does: "throws instead of calling back",
    caughtBy: ["arguments", "destroy rejects a sid that is empty or not a string with a TypeError"],
    breakStore: store =>
      replace(store, "destroy", destroy => (sid, last) => {
        if (sid === "" && typeof last === "function") throw new TypeError("Expected `sid`");
        return destroy(sid, last);
      }),
  },
  {
    does: "goes on working after close",
    caughtBy: ["close and ping", "everything fails with ERR_STORE_CLOSED after close"],
    breakStore: store => replace(store, "close", () => async () => {}),
  },
  {
    does: "ignores signals",
    caughtBy: [
      "timeouts and signals",
      "get rejects with the reason of a signal that was aborted before, and does nothing",
    ],
    breakStore: store => replace(store, "get", get => sid => get(sid)),
  },
  {
    does: "lets ENOENT out of get",
    caughtBy: ["outages", 'get fails with the code of an outage, and never takes it for "no session"'],
    breakStore: store =>
      replace(
        store,
        "get",
        get => sid => get(sid).catch(() => Promise.reject(Object.assign(new Error(), { code: "ENOENT" }))),
      ),
  },
];
