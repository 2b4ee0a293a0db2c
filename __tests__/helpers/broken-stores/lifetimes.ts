import type { SessionData } from "express-session";
import {
  type ActivityUpdate,
  isTombstone,
  type RecordWrite,
  type ScannedRecord,
} from "../../../lib/index.js";
import { type Fault, replace, replaceRead, replaceWritten, YEARS_MS } from "./fault.js";

const CHANGES = "changes of the lifetime";

/** Stores that break promises about lifetimes and touches. */
export const lifetimeFaults: Fault[] = [
  {
    does: "ignores touches",
    caughtBy: ["touch", "touch lets a session live its lifetime from now on"],
    breakStore: store => replace(store, "_touch", () => () => ({ written: true })),
  },
  {
    does: "touches a missing session into being",
    caughtBy: ["touch", "touch succeeds for a session that does not exist, and writes nothing"],
    breakStore: store =>
      replace(store, "touch", touch => async (sid, session, last) => {
        if ((await store.get(sid)) === null) await store.set(sid, session);
        return touch(sid, session, last);
      }),
  },
  {
    does: "moves the last use back by a touch",
    caughtBy: ["touch", "touch never moves the last use of a session back"],
    breakStore: store =>
      replace(store, "_touch", touch => (key, argument: ActivityUpdate) => {
        const record = store.stored(key);
        if (record === undefined || isTombstone(record)) return touch(key, argument);
        return store.put(key, { ...record, activeAt: argument.activeAt });
      }),
  },
  {
    does: "brings back an ended session by a touch",
    caughtBy: ["touch", "touch does not bring back a session that has ended"],
    breakStore: store =>
      replace(store, "_touch", touch => (key, argument) => touch(key, { ...argument, activeFrom: 0 })),
  },
  {
    does: "takes a touch for a change",
    caughtBy: ["touch", "touch is no change for a request that loaded the session before"],
    breakStore: store =>
      replace(store, "_touch", touch => (key, argument) => {
        const touched = touch(key, argument);
        const record = store.stored(key);
        if (record) store.put(key, { ...record, version: `${record.version}touch12345` });
        return touched;
      }),
  },
  {
    does: "saves the session with a touch",
    caughtBy: ["touch", "touch moves the last use of a session and changes nothing else"],
    breakStore: store => replace(store, "touch", () => (sid, session, last) => store.set(sid, session, last)),
  },
  {
    does: "touches the session that was created again under the same sid",
    caughtBy: ["touch", "touch does not touch a session that was created again under the same sid"],
    breakStore: store =>
      replace(store, "touch", () => async (sid, session: SessionData) => {
        const record = store.stored(store.prefix + sid);
        const lifetime = session.cookie?.originalMaxAge ?? 0;
        if (record && lifetime > 0) store.put(store.prefix + sid, { ...record, lifetime });
      }),
  },
  {
    does: "writes each of the touches of parallel requests",
    caughtBy: ["touch", "of the touches of parallel requests one is written"],
    breakStore: store =>
      replace(store, "touch", touch => async (sid, session, last) => {
        const never = { activeAt: 0, lifetime: 0, createdAt: 0, activeFrom: 1, deleteAt: 0, seen: undefined };
        store._touch(store.prefix + sid, never);
        return await touch(sid, session, last);
      }),
  },
  {
    does: "keeps the old expiry in the cookie after a touch",
    caughtBy: ["touch", "touch moves the expiry in the cookie that get, all and entries return"],
    breakStore: store => {
      let expires: unknown;
      replace(store, "get", get => async (sid, last) => {
        const session = await get(sid, last);
        expires ??= session?.cookie.expires;
        return session && { ...session, cookie: { ...session.cookie, expires } };
      });
    },
  },
  {
    does: "writes touches that touchAfter skips",
    caughtBy: ["touchAfter", "a touch that would move the last use by less than touchAfter is skipped"],
    breakStore: store =>
      replace(store, "touch", touch => async (sid, session, last) => {
        await touch(sid, session, last);
        const record = store.stored(store.prefix + sid);
        if (record) store.put(store.prefix + sid, { ...record, activeAt: store._now() });
      }),
  },
  {
    does: "ends a session without the time for skipped touches",
    caughtBy: [
      "touchAfter",
      "a session is found until touchAfter after its expiry, and no longer",
      "no session ends early with the default touchAfter",
      "a slow response after a skipped touch does not end the session early, with the default touchAfter",
      "a slow response after a skipped touch does not end the session early, with a touchAfter of 300 s",
    ],
    breakStore: store =>
      replaceRead(store, record => (record.activeAt + record.lifetime > store._now() ? record : undefined)),
  },
  {
    does: "shows an expiry that is past",
    caughtBy: ["touchAfter", "no session that is found shows an expiry that is past"],
    breakStore: store =>
      replace(store, "get", get => async (sid, last) => {
        const session = await get(sid, last);
        const { activeAt, lifetime } = store.stored(store.prefix + sid) ?? { activeAt: 0, lifetime: 0 };
        if (session?.cookie.expires) session.cookie.expires = new Date(activeAt + lifetime).toISOString();
        return session;
      }),
  },
  {
    does: "returns ended sessions",
    caughtBy: ["lifetimes", "a session ends to the millisecond after its cookie's maxAge, be it 5 ms"],
    breakStore: store => replaceRead(store, record => ({ ...record, activeAt: record.activeAt + YEARS_MS })),
  },
  {
    does: "rounds lifetimes up to seconds",
    caughtBy: ["lifetimes", "a session ends to the millisecond after its cookie's maxAge, be it 5 ms"],
    breakStore: store =>
      replaceWritten(store, record => ({ ...record, lifetime: Math.ceil(record.lifetime / 1000) * 1000 })),
  },
  {
    does: "lists ended sessions",
    caughtBy: ["listings", "listings show no session that has ended or was destroyed"],
    breakStore: store =>
      replace(
        store,
        "_scan",
        scan =>
          async function* (start) {
            for await (const page of scan(start) as AsyncGenerator<ScannedRecord[]>) {
              yield page.map(({ key }) => {
                const record = store.stored(key);
                return { key, record: record && { ...record, activeAt: record.activeAt + YEARS_MS } };
              });
            }
          },
      ),
  },
  {
    does: "removes a session as soon as it has ended",
    caughtBy: [
      "lifetimes",
      "a request that was running when its session ended can still save it within a minute",
    ],
    breakStore: store =>
      replace(store, "get", get => async sid => {
        const session = await get(sid);
        if (session === null) await store.destroy(sid);
        return session;
      }),
  },
  {
    does: "takes an originalMaxAge of NaN for none",
    caughtBy: [
      "lifetimes",
      "set and touch reject an originalMaxAge that is not finite with a TypeError and leave the record",
    ],
    breakStore: store =>
      replace(store, "set", set => (sid, session, last) => {
        const { cookie } = session;
        if (!Number.isNaN(cookie?.originalMaxAge)) return set(sid, session, last);
        return set(sid, { ...session, cookie: { ...cookie, originalMaxAge: null } }, last);
      }),
  },
  {
    does: "keeps the lifetime that a session began with",
    caughtBy: [
      CHANGES,
      "a shorter maxAge holds that is the only change of a request, which touch brings",
      "a longer maxAge holds that is the only change of a request, which touch brings",
      "a longer maxAge that set brings holds although others have used the session since",
    ],
    breakStore: store =>
      replaceWritten(store, (record, current) => ({
        ...record,
        lifetime: current?.lifetime || record.lifetime,
      })),
  },
  {
    does: "keeps the longer of two lifetimes",
    caughtBy: [
      CHANGES,
      "a shorter maxAge survives a parallel save that arrives before it",
      "a shorter maxAge survives a parallel save that arrives after it",
    ],
    breakStore: store =>
      replaceWritten(store, (record, current) => ({
        ...record,
        lifetime: Math.max(record.lifetime, current?.lifetime ?? 0),
      })),
  },
  {
    does: "puts back an old lifetime by a stale touch",
    caughtBy: [
      CHANGES,
      "a stale touch does not put back the lifetime that a shorter one has replaced",
      "a stale touch does not put back the lifetime that a longer one has replaced",
      "a stale touch does not put back the lifetime of a ttl function for the session as it was",
    ],
    breakStore: store =>
      replace(store, "_touch", touch => (key, argument: ActivityUpdate) => {
        const record = store.stored(key);
        if (record === undefined || isTombstone(record)) return touch(key, argument);
        return store.put(key, { ...record, lifetime: argument.lifetime, activeAt: argument.activeAt });
      }),
  },
  {
    does: "asks the ttl function for the session as the request holds it",
    caughtBy: [
      CHANGES,
      "the lifetime is that of the ttl function for the session as it is written, if a parallel save arrives after",
    ],
    breakStore: store => {
      let session: SessionData | undefined;
      replace(store, "set", set => (sid, each, last) => {
        session = each;
        return set(sid, each, last);
      });
      replaceWritten(store, record => {
        const { ttl } = store.options;
        if (typeof ttl !== "function" || session === undefined) return record;
        return { ...record, lifetime: ttl(session) * 1000 };
      });
    },
  },
  {
    does: "undoes touches by a slow response",
    caughtBy: [
      CHANGES,
      "a slow response beside the touches of others ends nothing early",
      "a save in the middle of a request undoes no touch, and a later one neither",
    ],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const { condition, record } = argument;
        if (condition.absent) return write(key, argument);
        const since = record.activeAt - 30_000;
        return write(key, {
          ...argument,
          record: { ...record, activeAt: since },
          condition: { ...condition, activeTo: YEARS_MS * 10 },
        });
      }),
  },
  {
    does: "counts a slow response as a use when it ends",
    caughtBy: [
      CHANGES,
      "a slow response counts as a use when it began, not when it ended",
      "a slow response that took longer than its session does not prolong it",
    ],
    breakStore: store => replaceWritten(store, record => ({ ...record, activeAt: store._now() })),
  },
  {
    does: "takes a slow response for the wish to end the session",
    caughtBy: [CHANGES, "a slow response that took longer than its session keeps what others have saved"],
    breakStore: store =>
      replace(store, "set", set => async (sid, session: SessionData, last) => {
        const expires = session.cookie?.expires;
        if (expires && new Date(expires).getTime() <= store._now()) await store.destroy(sid);
        return await set(sid, session, last);
      }),
  },
  {
    does: "removes and shortens what a host ahead keeps alive",
    caughtBy: [
      "two clocks",
      "a slow response on a host that is behind removes and shortens nothing that one ahead keeps alive",
    ],
    breakStore: store =>
      replace(store, "set", set => async (sid, session: SessionData, last) => {
        const expires = session.cookie?.expires;
        if (expires && new Date(expires).getTime() <= store._now()) await store.destroy(sid);
        return await set(sid, session, last);
      }),
  },
  {
    does: "removes what has ended for its own clock",
    caughtBy: ["two clocks", "a session that has ended for a host that is ahead lives on for one behind"],
    breakStore: store =>
      replace(store, "get", get => async sid => {
        const session = await get(sid);
        if (session === null) store.records.delete(store.prefix + sid);
        return session;
      }),
  },
  {
    does: "believes its own clock although another host's is ahead",
    caughtBy: [
      "two clocks",
      "hosts whose clocks differ lose no change of each other",
      "hosts whose clocks differ only touch a session that neither has changed",
    ],
    breakStore: store => replaceRead(store, record => (record.activeAt > store._now() ? undefined : record)),
  },
  {
    does: "moves the last use back with its clock",
    caughtBy: ["clocks", "a clock that is put back an hour ends no session and loses no change"],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const result = write(key, argument);
        if (result.written) store.put(key, { ...argument.record, activeAt: store._now() });
        return result;
      }),
  },
  {
    does: "forgets when a session was created",
    caughtBy: [
      "absoluteTimeout",
      "absoluteTimeout counts from the creation of a session, not from a save or touch",
    ],
    breakStore: store =>
      replaceRead(store, record => ({ ...record, createdAt: record.createdAt + YEARS_MS })),
  },
  {
    does: "creates a session anew with each save",
    caughtBy: [
      "absoluteTimeout",
      "absoluteTimeout counts from the creation of a session, not from a save or touch",
      "a session that is replaced by plain data or saved from a listing keeps its creation",
    ],
    breakStore: store => replaceWritten(store, record => ({ ...record, createdAt: store._now() })),
  },
];
