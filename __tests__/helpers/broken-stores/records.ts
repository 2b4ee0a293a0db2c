import { setImmediate as turn } from "node:timers/promises";
import {
  type ActivityUpdate,
  conditionHolds,
  isTombstone,
  type RecordWrite,
  type ScannedRecord,
  touchHolds,
  UNREADABLE,
} from "../../../lib/index.js";
import { MAX_SESSION_BYTES, PAGE_SIZE } from "../stores/map-store.js";
import { type Fault, replace, replaceWritten } from "./fault.js";

const REPEATED = "repeated and late writes";
const SHARED = "two stores on one backend";
const NO_RECORD = "what is no record of this store under a sid is absent, reported, and stays in place";

const keyed = ["_read", "_write", "_touch", "_remove"] as const;

/** Stores whose primitives break the promises that the base class relies on. */
export const recordFaults: Fault[] = [
  {
    does: "leaves no tombstone",
    caughtBy: [
      REPEATED,
      "a late first save of a new Session does not bring back the session after destroy",
      "a late first save of plain data does not bring back the session after destroy",
      "the next save of a Session does not bring it back if one that timed out took place and it was destroyed",
    ],
    breakStore: store => replace(store, "_remove", () => key => store.records.delete(key)),
  },
  {
    does: "leaves no tombstone for a save that is sent again",
    caughtBy: [
      SHARED,
      "a first save whose response is lost does not bring back what another store has destroyed",
    ],
    breakStore: store => replace(store, "_remove", () => key => store.records.delete(key)),
  },
  {
    does: "leaves no tombstones when it is cleared",
    caughtBy: [REPEATED, "a late first save of a new Session does not bring back the session after clear"],
    breakStore: store =>
      replace(store, "_removeAll", () => async (keys: string[]) => {
        for (const key of keys) store.records.delete(key);
      }),
  },
  {
    does: "undoes later saves by a late first one",
    caughtBy: [
      REPEATED,
      "a late first save of a new Session does not undo later saves",
      "a late first save of plain data does not undo later saves",
    ],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const current = store.stored(key);
        const isAlive = current !== undefined && !isTombstone(current);
        return argument.condition.absent && isAlive ? store.put(key, argument.record) : write(key, argument);
      }),
  },
  {
    does: "undoes later saves by a late one",
    caughtBy: [REPEATED, "late saves of a loaded session undo no later save and bring nothing back"],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const { condition } = argument;
        const version = store.stored(key)?.version ?? "";
        const isSame = !condition.absent && version.slice(0, 10) === condition.version.slice(0, 10);
        return write(key, isSame ? { ...argument, condition: { ...condition, version } } : argument);
      }),
  },
  {
    does: "undoes a change of the lifetime by a late touch",
    caughtBy: [REPEATED, "late touches undo no change of the lifetime and bring nothing back"],
    breakStore: store =>
      replace(store, "_touch", touch => (key, argument: ActivityUpdate) => {
        const record = store.stored(key);
        if (record === undefined || record.lifetime === argument.lifetime) return touch(key, argument);
        return store.put(key, { ...record, lifetime: argument.lifetime });
      }),
  },
  {
    does: "removes a new session by a late removal",
    caughtBy: [
      REPEATED,
      "a late removal does not remove a session that was created since under the same sid",
    ],
    breakStore: store =>
      replace(
        store,
        "_remove",
        () =>
          (key, { tombstone }) =>
            store.put(key, tombstone),
      ),
  },
  {
    does: "does not say what is stored when it rejects a write",
    caughtBy: [
      REPEATED,
      "a save whose response is lost succeeds once and is no conflict",
      "the next save of a Session finds out that one that timed out took place",
    ],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const result = write(key, argument);
        return result.written || argument.condition.absent ? result : { written: false };
      }),
  },
  {
    does: "keeps the id of the last write only",
    caughtBy: [SHARED, "a save whose response is lost does not undo what another store has built on it"],
    breakStore: store => {
      const short = (version: string) => version.slice(0, 20);
      replaceWritten(store, record => ({ ...record, version: short(record.version) }));
      replace(store, "_write", write => (key, argument) => {
        const { condition } = argument;
        if (condition.absent) return write(key, argument);
        return write(key, { ...argument, condition: { ...condition, version: short(condition.version) } });
      });
    },
  },
  {
    does: "checks the version and writes in two steps",
    caughtBy: [
      SHARED,
      "two stores merge each other's changes, with 20 saves at the same time",
      "two stores that count in one key count exactly",
      "two stores that count in one key count exactly although the responses to all saves are lost",
    ],
    breakStore: store =>
      replace(store, "_write", () => async (key, { record, condition }: RecordWrite) => {
        const current = store.find(key);
        await turn();
        if (!conditionHolds(current, condition)) return { written: false, current };
        return store.put(key, record);
      }),
  },
  {
    does: "takes the token for the condition",
    caughtBy: [
      "primitives",
      "_write expects the version and the last use that its condition names",
      "_write does not take the token of another record for the condition",
    ],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const { condition, record } = argument;
        const isCurrent = !condition.absent && condition.token === store.records.get(key);
        return isCurrent && condition.token !== undefined ? store.put(key, record) : write(key, argument);
      }),
  },
  {
    does: "goes by the record that was seen when it is touched",
    caughtBy: ["primitives", "_touch goes by what is stored, not by what was seen"],
    breakStore: store =>
      replace(store, "_touch", touch => (key, argument: ActivityUpdate) => {
        const { seen, activeAt } = argument;
        if (!touchHolds(seen, argument)) return touch(key, argument);
        return store.put(key, { ...seen.record, activeAt });
      }),
  },
  {
    does: "loses the user by a touch",
    caughtBy: ["primitives", "_touch moves activeAt and keeps every other field"],
    breakStore: store =>
      replace(store, "_touch", touch => (key, argument) => {
        const result = touch(key, argument);
        const record = store.stored(key);
        if (record !== undefined) store.put(key, { ...record, user: undefined });
        return result;
      }),
  },
  {
    does: "stores no user",
    caughtBy: ["primitives", "_read returns what _write has stored, every field of it"],
    breakStore: store => replaceWritten(store, record => ({ ...record, user: undefined })),
  },
  {
    does: "touches without looking at the creation",
    caughtBy: ["primitives", "_touch expects the lifetime, the creation and a last use within its limits"],
    breakStore: store =>
      replace(store, "_touch", touch => (key, argument) => touch(key, { ...argument, createdAt: undefined })),
  },
  {
    does: "writes over a tombstone as over nothing",
    caughtBy: [
      "primitives",
      "_write expects that nothing is stored: no record and no tombstone, and returns what is",
    ],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        if (argument.condition.absent && store.stored(key)?.lifetime === 0) store.records.delete(key);
        return write(key, argument);
      }),
  },
  {
    does: "keeps the tombstone that is there",
    caughtBy: [
      "primitives",
      "_remove leaves a tombstone in place of a record, of another tombstone and of nothing",
    ],
    breakStore: store =>
      replace(store, "_remove", remove => (key, removal) => {
        if (store.stored(key)?.lifetime !== 0) remove(key, removal);
      }),
  },
  {
    does: "restores a tombstone as it was",
    caughtBy: ["primitives", "_remove does not restore the tombstone that a late creation expects"],
    breakStore: store =>
      replace(store, "_remove", () => (key, { tombstone, id }) => {
        if (!store.stored(key)?.version.includes(id)) store.put(key, tombstone);
      }),
  },
  {
    does: "scans less than it reads",
    caughtBy: ["primitives", "_scan returns what _read returns, under the key that it was written with"],
    breakStore: store =>
      replace(
        store,
        "_scan",
        scan =>
          async function* (start) {
            for await (const page of scan(start) as AsyncGenerator<ScannedRecord[]>) {
              yield page.map(({ key }) => ({ key, record: { ...store.stored(key), user: undefined } }));
            }
          },
      ),
  },
  {
    does: "forgets the prefix",
    caughtBy: ["prefixes", "sessions of the prefixes a: and a:b: are kept apart"],
    breakStore: store => {
      const unprefixed = (key: string) => key.slice(store.prefix.length);
      for (const method of keyed) {
        replace(
          store,
          method,
          original =>
            (key, ...rest) =>
              original(unprefixed(key), ...rest),
        );
      }
    },
  },
  {
    does: "lists what has a longer prefix",
    caughtBy: ["prefixes", "sessions of the prefixes a: and a:b: are kept apart"],
    breakStore: store =>
      replace(store, "ids", () => async () => {
        const own = [...store.records.keys()].filter(key => key.startsWith(store.prefix));
        return own.map(key => key.slice(store.prefix.length));
      }),
  },
  {
    does: "lists what has another prefix for the empty one",
    caughtBy: ["prefixes", "sessions of an empty prefix are kept apart from all others"],
    breakStore: store =>
      replace(store, "ids", ids => async last => {
        if (store.prefix !== "") return await ids(last);
        const sids: string[] = [];
        for await (const page of store._scan("")) sids.push(...page.map(({ key }) => key));
        return sids;
      }),
  },
  {
    does: "clears the sessions of other prefixes",
    caughtBy: ["prefixes", "sessions of the prefixes app1 and app10 are kept apart"],
    breakStore: store => replace(store, "clear", () => async () => store.records.clear()),
  },
  {
    does: "takes sids that differ in case for the same",
    caughtBy: ["get", "get finds sessions under sids of any characters and lengths, and mixes none up"],
    breakStore: store => {
      for (const method of keyed) {
        replace(
          store,
          method,
          original =>
            (key, ...rest) =>
              original(key.toLowerCase(), ...rest),
        );
      }
    },
  },
  {
    does: "loses characters of the data",
    caughtBy: ["get", "a store uses the serializer of its options and keeps every character of its text"],
    breakStore: store =>
      replaceWritten(store, record => ({ ...record, data: record.data.replaceAll("\0", "") })),
  },
  {
    does: "cuts off what is too large",
    caughtBy: [
      "the size limit",
      "set rejects a session beyond the limit with ERR_SESSION_TOO_LARGE, names the limit, and leaves the record",
    ],
    breakStore: store =>
      replaceWritten(store, record => ({ ...record, data: record.data.slice(0, MAX_SESSION_BYTES) })),
  },
  {
    does: "destroys nothing",
    caughtBy: ["destroy", "destroy removes a session"],
    breakStore: store => replace(store, "_remove", () => () => {}),
  },
  {
    does: "fails to destroy what does not exist",
    caughtBy: ["destroy", "destroy succeeds for a session that does not exist, and a second time"],
    breakStore: store =>
      replace(store, "_remove", remove => (key, removal) => {
        if (store.find(key) === undefined) throw new Error("Not found");
        remove(key, removal);
      }),
  },
  {
    does: "lists only the first page",
    caughtBy: ["listings", "all, ids, length and entries have each of 300 sessions once"],
    breakStore: store =>
      replace(
        store,
        "_scan",
        scan =>
          async function* (start): AsyncGenerator<ScannedRecord[]> {
            for await (const page of scan(start)) {
              yield page;
              return;
            }
          },
      ),
  },
  {
    does: "pages by position, so that what comes and goes shifts the pages",
    caughtBy: ["listings", "entries shows what stays exactly once while other sessions come and go"],
    breakStore: store =>
      replace(
        store,
        "_scan",
        () =>
          async function* (start: string) {
            const keysNow = () => [...store.records.keys()].filter(key => !store.isTombstoneAt(key));
            for (let position = 0; position < keysNow().length; position += PAGE_SIZE) {
              const keys = keysNow().slice(position, position + PAGE_SIZE);
              yield keys
                .filter(key => key.startsWith(start))
                .map(key => ({ key, record: store.stored(key) }));
            }
          },
      ),
  },
  {
    does: "clears not everything",
    caughtBy: ["listings", "clear destroys all of 300 sessions, and the store can be used afterwards"],
    breakStore: store =>
      replace(
        store,
        "_removeAll",
        removeAll =>
          (keys: string[], ...rest) =>
            removeAll(keys.slice(1), ...rest),
      ),
  },
  {
    does: "removes records that it cannot read",
    caughtBy: ["foreign records", NO_RECORD],
    breakStore: store =>
      replace(store, "_read", read => key => {
        const found = read(key);
        if (found?.record === UNREADABLE) store.records.delete(key);
        return found;
      }),
  },
  {
    does: "fails at records that it cannot read",
    caughtBy: ["foreign records", NO_RECORD],
    breakStore: store =>
      replace(store, "_read", read => key => {
        const found = read(key);
        if (found?.record === UNREADABLE) throw new SyntaxError("Unexpected token");
        return found;
      }),
  },
  {
    does: "overwrites what it cannot read",
    caughtBy: [
      "foreign records",
      "the save of a session whose record is none of this store any more fails and leaves it",
    ],
    breakStore: store =>
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const isUnreadable = store.records.has(key) && store.stored(key) === undefined;
        return isUnreadable ? store.put(key, argument.record) : write(key, argument);
      }),
  },
  {
    does: "does not destroy what it cannot read",
    caughtBy: ["foreign records", "what is no record of this store can be destroyed and cleared"],
    breakStore: store =>
      replace(store, "_remove", remove => (key, removal) => {
        if (!store.records.has(key) || store.stored(key) !== undefined) remove(key, removal);
      }),
  },
  {
    does: 'takes an outage for "no session"',
    caughtBy: ["outages", 'get fails with the code of an outage, and never takes it for "no session"'],
    breakStore: store => replace(store, "_read", read => key => (store.down ? undefined : read(key))),
  },
];
