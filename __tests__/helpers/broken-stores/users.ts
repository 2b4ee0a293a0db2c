import { setImmediate as turn } from "node:timers/promises";
import type { ActivityUpdate, RecordWrite, UserEntry, UserList, UserSession } from "../../../lib/index.js";
import { isTombstone } from "../../../lib/index.js";
import { PAGE_SIZE } from "../stores/map-store.js";
import { type Fault, replace } from "./fault.js";

const FIND = "findByUser and reindex";
const END = "ending and changing the sessions of users";
const LIMIT = "maxSessionsPerUser";

/** Stores whose lists of users break the promises that the base class relies on. */
export const userFaults: Fault[] = [
  {
    does: "adds no entry",
    caughtBy: [
      FIND,
      "findByUser yields the live sessions of a user, the last used first",
      "a session that gets another user moves to that user's list",
      "plain data that replaces a session decides about the user",
    ],
    breakStore: store => replace(store, "addEntry", () => () => {}),
  },
  {
    does: "adds entries of new sessions only",
    caughtBy: [FIND, "a session that gets another user moves to that user's list"],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const { condition, entry } = argument;
        return write(key, { ...argument, entry: condition.absent ? entry : undefined });
      }),
  },
  {
    does: "acknowledges a sign-in before its entry is there",
    caughtBy: [
      END,
      "destroyByUser destroys all sessions of a user, and no others",
      "updateByUser changes all live sessions of a user without ending them",
    ],
    breakStore: store =>
      replace(store, "addEntry", add => async (key, entry) => {
        await turn();
        add(key, entry);
      }),
  },
  {
    does: "lists what it had at the time of the listing before",
    caughtBy: [END, "a user with a hundred and fifty sessions is found, changed and ended"],
    breakStore: store => {
      const before = new Map<string, UserList>();
      replace(store, "_listUser", list => user => {
        const now: UserList = list(user);
        const shown = before.get(user) ?? { ...now, sessions: [] };
        before.set(user, now);
        return shown;
      });
    },
  },
  {
    does: "lists one page of a user's sessions",
    caughtBy: [END, "a user with a hundred and fifty sessions is found, changed and ended"],
    breakStore: store =>
      replace(store, "_listUser", list => user => {
        const { sessions, token }: UserList = list(user);
        return { sessions: sessions.slice(0, PAGE_SIZE), token };
      }),
  },
  {
    does: "takes users that differ in case for the same",
    caughtBy: [FIND, "users with unusual names have lists of their own"],
    breakStore: store => {
      replace(store, "_listUser", list => user => list(user.toLowerCase()));
      replace(store, "addEntry", add => (key, entry?: UserEntry) => {
        add(key, entry && { ...entry, user: entry.user.toLowerCase() });
      });
    },
  },
  {
    does: "does not renew entries by touches",
    caughtBy: [FIND, "a session whose use is only touched stays in the list for weeks"],
    breakStore: store =>
      replace(
        store,
        "_touch",
        touch => (key, argument: ActivityUpdate) => touch(key, { ...argument, entry: undefined }),
      ),
  },
  {
    does: "does not renew entries by saves",
    caughtBy: [FIND, "a session whose lifetime grows stays in the list"],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const isRenewal = argument.entry?.user === store.stored(key)?.user;
        return write(key, isRenewal ? { ...argument, entry: undefined } : argument);
      }),
  },
  {
    does: "ends entries before their sessions",
    caughtBy: [FIND, "a session that is used for weeks stays in the list"],
    breakStore: store =>
      replace(store, "addEntry", add => (key, entry?: UserEntry) => {
        add(key, entry && { ...entry, deleteAt: store._now() + 1000 });
      }),
  },
  {
    does: "ends entries a lifetime too early",
    caughtBy: [FIND, "a touch by a request from before the sign-in leaves the session in the list"],
    breakStore: store =>
      replace(store, "addEntry", add => (key, entry?: UserEntry) => {
        const { lifetime = 0 } = store.stored(key) ?? {};
        add(key, entry && { ...entry, deleteAt: entry.deleteAt - lifetime });
      }),
  },
  {
    does: "adds no entry for a user that the session has already",
    caughtBy: [FIND, "reindex files sessions whose entries were lost"],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const isOld = argument.entry?.user === store.stored(key)?.user;
        return write(key, isOld ? { ...argument, entry: undefined } : argument);
      }),
  },
  {
    does: "removes entries by the key of the session",
    caughtBy: [END, "a removal of entries that is late removes no later sign-in from the list"],
    breakStore: store =>
      replace(store, "_removeEntries", () => (user: string, removed: UserSession[]) => {
        const { entries } = store.listOf(user);
        const keys = removed.map(({ key }) => key);
        for (const [id, { key }] of entries) if (keys.includes(key)) entries.delete(id);
      }),
  },
  {
    does: "removes all entries instead of some",
    caughtBy: [END, "destroyByUser spares the session that `except` names by its sid or its handle"],
    breakStore: store =>
      replace(store, "_removeEntries", () => (user: string) => store.listOf(user).entries.clear()),
  },
  {
    does: "ignores the token of the list",
    caughtBy: [
      LIMIT,
      "sign-ins that race never exceed the limit (reject)",
      "sign-ins that race never exceed the limit (end-oldest)",
    ],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const { entry } = argument;
        return write(key, { ...argument, entry: entry && { ...entry, listToken: undefined } });
      }),
  },
  {
    does: "never says that a list has changed",
    caughtBy: [LIMIT, "sign-ins that race never exceed the limit (end-oldest)"],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const result = write(key, argument);
        if (result.listChanged) throw new Error("The list has changed");
        return result;
      }),
  },
  {
    does: "destroys whatever is there",
    caughtBy: [END, "destroyByUser leaves a session that another user has signed in to in the meantime"],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        return isTombstone(argument.record) ? store.put(key, argument.record) : write(key, argument);
      }),
  },
  {
    does: "says that it has destroyed what others have saved",
    caughtBy: [END, "destroyByUser destroys a session that was saved or touched in the meantime"],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const result = write(key, argument);
        return isTombstone(argument.record) ? { written: true } : result;
      }),
  },
  {
    does: "leaves a tombstone that a late first save does not find",
    caughtBy: [
      END,
      "late attempts of a sign-in and of later saves do not bring back what destroyByUser has destroyed",
    ],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const result = write(key, argument);
        if (result.written && isTombstone(argument.record)) store.records.delete(key);
        return result;
      }),
  },
  {
    does: "changes a session over what others have saved",
    caughtBy: [
      END,
      "updateByUser merges with a request in flight, and repeats a change that conflicts",
      "updateByUser changes no session that another user has signed in to, or that was destroyed",
    ],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const isLive = !argument.condition.absent && !isTombstone(argument.record);
        return isLive ? store.put(key, argument.record) : write(key, argument);
      }),
  },
];
