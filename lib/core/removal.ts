import { deleteAtOf } from "./expiry.js";
import { type Removal, tombstoneOf } from "./record.js";
import type { StoreParts } from "./store-parts.js";

/** A new removal, with the tombstone that it leaves. */
export function newRemoval({ ids, settings }: StoreParts): Removal {
  const id = ids.nextRemoval();
  const tombstone = tombstoneOf(id, settings.now());
  return { tombstone, id, deleteAt: deleteAtOf(tombstone, settings.lifetimes) };
}
