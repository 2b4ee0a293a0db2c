import type { IKeyValue } from "etcd3";

/*
 * The entries of a user: a key each, whose value is the key of the session. They are on leases of their own, since a
 * touch moves the session to a later lease, and the entry must not end first.
 */

/** Ends the user in the key of an entry. No character of a user. */
const SEPARATOR = "!";

/** @param userKey - the key for the user's list */
export function entriesOf(userKey: string): string {
  return userKey + SEPARATOR;
}

export function entryKey(userKey: string, id: string): string {
  return entriesOf(userKey) + id;
}

export function entryIdOf({ key }: IKeyValue): string {
  const text = key.toString();
  return text.slice(text.lastIndexOf(SEPARATOR) + 1);
}

/** Whether a key looks like an entry: it leads to a session of the same prefix. */
export function isUserEntry({ key, value }: IKeyValue): boolean {
  const [, prefix] = /^(.*)![^!]+![^!]+$/s.exec(key.toString()) ?? [];
  return prefix !== undefined && value.toString().startsWith(prefix);
}
