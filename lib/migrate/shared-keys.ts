import { resolve } from "node:path";
import type { Store } from "express-session";
import { AbstractStore } from "../core/abstract-store.js";

/** Where connect-dynamodb, dynamodb-store and our own store say what they use. */
interface TableUser {
  readonly table?: unknown;
  readonly tableName?: unknown;
  /** Of a FileStore. */
  readonly path?: unknown;
  readonly prefix?: unknown;
  readonly hashPrefix?: unknown;
}

/**
 * Rejects an old store in the same table whose keys begin as those of the new store: the new one cannot read such items,
 * and would take their sessions for signed out. Tables of one name may be in different regions, which cannot be seen.
 *
 * @throws TypeError
 */
export function assertOwnKeys(from: Store, to: AbstractStore): void {
  if (from instanceof AbstractStore) {
    assertOtherPrefix(from, to);
    return;
  }
  const old = from as TableUser;
  const { tableName } = to as TableUser;
  if (tableName === undefined || tableName !== (old.table ?? old.tableName)) return;
  if (to.prefix !== (old.prefix ?? old.hashPrefix)) return;
  throw new TypeError(
    `Expected \`to\` to have another prefix than \`from\` in the table "${tableName}", where both have "${to.prefix}": set the option \`prefix\` of \`to\`.`,
  );
}

/** Two stores with one prefix in one place are one store. */
function assertOtherPrefix(from: AbstractStore, to: AbstractStore): void {
  const [one, other] = [placeOf(from), placeOf(to)];
  if (one === undefined || one !== other || from.prefix !== to.prefix) return;
  throw new TypeError(
    `Expected \`to\` to have another prefix than \`from\` in the same ${one}, where both have "${to.prefix}": set the option \`prefix\` of \`to\`.`,
  );
}

function placeOf(store: AbstractStore): string | undefined {
  const { path, tableName } = store as TableUser;
  if (typeof path === "string") return `file ${resolve(path)}`;
  return typeof tableName === "string" ? `table "${tableName}"` : undefined;
}
