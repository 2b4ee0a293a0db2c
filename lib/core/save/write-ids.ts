import { randomBytes } from "node:crypto";
import { isTombstone, type StoredRecord } from "../record.js";

/*
 * A version is the id of the write that created the record, its incarnation, then the ids of its last writes, newest
 * first. The incarnation tells a session that was changed from one that was destroyed and created again. The ids
 * tell a write that was rejected whether an earlier attempt of it took place, also if others wrote since.
 *
 * An id is a random source for each store, then a count. The version of a tombstone is the id of the removal alone.
 */

const SOURCE_LENGTH = 6;
const COUNT_LENGTH = 4;
const ID_LENGTH = SOURCE_LENGTH + COUNT_LENGTH;
const COUNTS = 64 ** COUNT_LENGTH;

/** Begins the ids of removals, so that they differ from all ids of writes. The one that a version has is kept. */
const REMOVAL_MARK = "~";

/**
 * How many ids a version keeps. Each process needs one, since its writes of a session queue: a repeated write is
 * recognized unless more than four other processes have written in between.
 */
const MAX_IDS = 5;

/** Bounds what is kept for writes whose response never arrived. */
const MAX_UNSETTLED = 1000;

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** Creates the ids and versions of one store. */
export class WriteIds {
  readonly #source = randomBytes(SOURCE_LENGTH).toString("base64url").slice(0, SOURCE_LENGTH);
  #count = 0;
  /** The ids of writes that have been sent and have had no response. */
  readonly #unsettled = new Set<string>();

  /** The id of a new write. */
  next(): string {
    return this.#source + this.#nextCount();
  }

  /** The id of a new removal, which is the version of its tombstone. */
  nextRemoval(): string {
    return REMOVAL_MARK + this.#source.slice(1) + this.#nextCount();
  }

  #nextCount(): string {
    this.#count = (this.#count + 1) % COUNTS;
    let text = "";
    for (let rest = this.#count; text.length < COUNT_LENGTH; rest >>>= 6) text = ALPHABET[rest & 63] + text;
    return text;
  }

  /** Notes that a write was sent: its id stays in versions until it is settled. */
  sent(id: string): void {
    if (this.#unsettled.size === MAX_UNSETTLED) {
      const [oldest] = this.#unsettled;
      this.#unsettled.delete(oldest as string);
    }
    this.#unsettled.add(id);
  }

  /** Notes that it is known whether a write took place. */
  settled(id: string): void {
    this.#unsettled.delete(id);
  }

  /** The version of a write over a record with `version`. */
  extend(version: string, id: string): string {
    let ids = id;
    for (const each of writeIdsOf(version)) {
      const isInDoubt = !each.startsWith(this.#source) || this.#unsettled.has(each);
      const isKept = each.startsWith(REMOVAL_MARK) || (isInDoubt && ids.length < MAX_IDS * ID_LENGTH);
      if (isKept) ids += each;
    }
    return incarnationOf(version) + ids;
  }
}

/**
 * The version of the write that creates a record, over what is stored. It keeps the id of the removal before, by which
 * backends recognize a late attempt of the removal.
 */
export function createdVersion(id: string, over?: StoredRecord): string {
  if (over === undefined) return id;
  const removal = isTombstone(over)
    ? over.version
    : writeIdsOf(over.version).find(each => each.startsWith(REMOVAL_MARK));
  return removal === undefined ? id : id + id + removal;
}

/** Whether `latest` is a later version of the same session, as far as the ids tell. */
export function isLaterVersion(latest: string, version: string): boolean {
  const isSameSession = incarnationOf(latest) === incarnationOf(version);
  return isSameSession && latest !== version && !hasWriteId(version, lastWriteId(latest));
}

export function incarnationOf(version: string): string {
  return version.slice(0, ID_LENGTH);
}

/** The ids of the last writes, newest first. The write that created the record is always among those found. */
export function hasWriteId(version: string, id: string): boolean {
  return incarnationOf(version) === id || writeIdsOf(version).includes(id);
}

/** The id of the last write. */
export function lastWriteId(version: string): string {
  return version.length > ID_LENGTH ? version.slice(ID_LENGTH, 2 * ID_LENGTH) : version;
}

function writeIdsOf(version: string): string[] {
  const ids: string[] = [];
  for (let at = ID_LENGTH; at < version.length; at += ID_LENGTH) ids.push(version.slice(at, at + ID_LENGTH));
  return ids;
}
