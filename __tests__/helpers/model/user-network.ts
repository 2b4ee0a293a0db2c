import { setTimeout as sleep } from "node:timers/promises";
import type { AbstractStore, RecordWrite, StoreOptions, UserList, UserSession } from "../../../lib/index.js";
import { replace } from "../broken-stores/fault.js";
import { below } from "../random.js";
import { MapStore } from "../stores/map-store.js";

/** The fault of a broken store, which shows that histories find it. */
export type UserFlaw =
  /** Writes the session, then its entry. A failure in between leaves a session without an entry. */
  | "adds entries after the write"
  /** Deletes the entry of a later sign-in when it deletes garbage. */
  | "removes entries by the key of the session"
  | "ignores the token of the list"
  /** Returns a list that is outdated. */
  | "lists late"
  | "adds entries of new sessions only";

/** Stores on a Map that respond after random times, so that calls overlap. */
export function createSlowStore(
  records: Map<string, string>,
  options: StoreOptions,
  random: () => number,
  flaw?: UserFlaw,
): AbstractStore {
  const store = new MapStore(options, records);
  const pause = () => sleep(below(3, random));
  if (flaw !== undefined) breakStore(store, flaw, random, pause);
  for (const method of ["_read", "_write", "_touch", "_remove", "_removeEntries"] as const) {
    replace(store, method, original => async (...args) => {
      await pause();
      const result = await original(...args);
      await pause();
      return result;
    });
  }
  replace(store, "_listUser", list => async user => {
    await pause();
    const { sessions, token } = (await list(user)) as UserList;
    const read = async ({ key, entryId }: UserSession) => {
      await pause();
      return { key, entryId, found: store.find(key) };
    };
    return { sessions: await Promise.all(sessions.map(read)), token };
  });
  return store;
}

function breakStore(
  store: MapStore,
  flaw: UserFlaw,
  random: () => number,
  pause: () => Promise<unknown>,
): void {
  switch (flaw) {
    case "adds entries after the write":
      replace(store, "_write", write => async (key, argument: RecordWrite) => {
        const result = write(key, { ...argument, entry: undefined });
        await pause();
        if (argument.entry !== undefined && random() < 0.1) throw new Error("ECONNRESET");
        if (result.written) store.addEntry(key, argument.entry);
        return result;
      });
      break;
    case "removes entries by the key of the session":
      replace(store, "_removeEntries", () => (user: string, removed: UserSession[]) => {
        const { entries } = store.listOf(user);
        const keys = removed.map(({ key }) => key);
        for (const [id, { key }] of entries) if (keys.includes(key)) entries.delete(id);
      });
      break;
    case "ignores the token of the list":
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const { entry } = argument;
        return write(key, { ...argument, entry: entry && { ...entry, listToken: undefined } });
      });
      break;
    case "lists late": {
      const before = new Map<string, UserList>();
      replace(store, "_listUser", list => user => {
        const shown = before.get(user) ?? list(user);
        before.set(user, list(user));
        return shown;
      });
      break;
    }
    case "adds entries of new sessions only":
      replace(store, "_write", write => (key, argument: RecordWrite) => {
        const { condition, entry } = argument;
        return write(key, { ...argument, entry: condition.absent ? entry : undefined });
      });
  }
}
