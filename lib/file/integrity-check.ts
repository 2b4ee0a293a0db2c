import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readSync,
  type Stats,
  statSync,
} from "node:fs";
import { dirname } from "node:path";

/*
 * The layout of an LMDB file (mdb.c): pages of one size, of which the first two are meta pages. The newer of those has
 * the roots of two trees: the free list, and the directory of tables, which are trees in their turn. A page begins
 * with a header, then has the offsets of its nodes, counted from the end of the header.
 */
const HEADER = { number: 0, transaction: 8, flags: 18, lower: 20, upper: 22, pages: 20, bytes: 24 } as const;
const META = {
  magic: 24,
  version: 28,
  freeList: 48,
  directory: 96,
  lastPage: 144,
  transaction: 152,
  bytes: 168,
} as const;
/** Of a tree. The meta page has the page size in the first field of the free list, which that does not need. */
const TREE = { pageSize: 0, depth: 6, root: 40, bytes: 48 } as const;
/** In a branch page size and flags are the number of a page. */
const NODE = { size: 0, flags: 4, keySize: 6, bytes: 8 } as const;
/** What a node has in place of a value that is on pages of its own. */
const OVERFLOW = { number: 0, pages: 16, bytes: 24 } as const;

const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;
const MIN_PAGE_SIZE = 256;
const MAX_PAGE_SIZE = 65_536;
const MAX_DEPTH = 32;
const FIRST_PAGE = 2;
const NO_PAGE = 2 ** 64;

const PAGE_KIND = 0x6f;
const BRANCH = 0x01;
const LEAF = 0x02;
const OVERFLOW_PAGE = 0x04;
const VALUE_IS_OVERFLOW = 0x01;
const VALUE_IS_TREE = 0x02;

/**
 * Looks a file over before LMDB does. LMDB trusts its file: with one that is another program's, cut short or damaged
 * it ends the process with a signal, or does not find sessions that are there.
 *
 * Reads all pages but those of large values, so it takes some 0.1 s for 100,000 sessions. What cannot be told by the
 * form of the pages is not found: LMDB has no checksums.
 *
 * @throws Error if there is something at `path` that is not a sound LMDB file
 */
export function assertLmdbOrNew(path: string): void {
  const size = assertUsable(path)?.size ?? 0;
  assertUsable(`${path}-lock`);
  // A process that was killed before it wrote anything leaves an empty file.
  if (size === 0) return;
  const descriptor = openSync(path, "r");
  try {
    const meta = newestMeta(descriptor);
    if (meta !== undefined) {
      if (new Walk(descriptor, meta).isSound()) return;
      // Another process may have written meanwhile, on pages that were free then.
      if (newestMeta(descriptor)?.equals(meta) === false) return;
    }
    throw new Error("it is not a file of this store, or it is damaged; it was left as it is");
  } finally {
    closeSync(descriptor);
  }
}

/** LMDB opens both files for writing, and lmdb-js does not survive it if that fails. */
function assertUsable(path: string): Stats | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isFile() === false) throw new Error(`${path} is not a regular file`);
  if (stats !== undefined && stats.nlink > 1) {
    throw new Error(`${path} has other names (hard links), and who uses those would not share its lock file`);
  }
  accessSync(stats === undefined ? dirname(path) : path, constants.R_OK | constants.W_OK);
  return stats;
}

/** The meta page that counts; undefined if this is not LMDB's. */
function newestMeta(descriptor: number): Buffer | undefined {
  const first = readMeta(descriptor, 0);
  const second = first && readMeta(descriptor, pageSizeOf(first));
  if (first === undefined || second === undefined) return undefined;
  return first.readBigUInt64LE(META.transaction) >= second.readBigUInt64LE(META.transaction) ? first : second;
}

function readMeta(descriptor: number, position: number): Buffer | undefined {
  const meta = Buffer.alloc(META.bytes);
  readSync(descriptor, meta, 0, META.bytes, position);
  const pageSize = pageSizeOf(meta);
  const isMeta =
    meta.readUInt32LE(META.magic) === MAGIC &&
    meta.readUInt16LE(META.version) === DATA_VERSION &&
    pageSize >= MIN_PAGE_SIZE &&
    pageSize <= MAX_PAGE_SIZE;
  return isMeta ? meta : undefined;
}

function pageSizeOf(meta: Buffer): number {
  return meta.readUInt32LE(META.freeList + TREE.pageSize);
}

/** Follows every tree of the file, as one meta page has them. */
class Walk {
  readonly #descriptor: number;
  readonly #meta: Buffer;
  readonly #pageSize: number;
  readonly #transaction: number;
  /** The file may end before the last page, if that is free: it is then not written. */
  readonly #pages: number;
  #pagesLeft: number;

  constructor(descriptor: number, meta: Buffer) {
    this.#descriptor = descriptor;
    this.#meta = meta;
    this.#pageSize = pageSizeOf(meta);
    this.#transaction = numberAt(meta, META.transaction);
    const filePages = Math.floor(fstatSync(descriptor).size / this.#pageSize);
    this.#pages = Math.min(numberAt(meta, META.lastPage) + 1, filePages);
    this.#pagesLeft = this.#pages;
  }

  isSound(): boolean {
    return this.#isTree(this.#meta, META.freeList) && this.#isTree(this.#meta, META.directory);
  }

  #isTree(buffer: Buffer, at: number): boolean {
    const root = numberAt(buffer, at + TREE.root);
    const depth = buffer.readUInt16LE(at + TREE.depth);
    if (root === NO_PAGE) return depth === 0;
    return depth > 0 && depth <= MAX_DEPTH && this.#isPage(root, depth);
  }

  /** @param depth - how many levels the tree has from here; 1 for a leaf */
  #isPage(number: number, depth: number): boolean {
    // A tree with a page in it twice has no end.
    this.#pagesLeft -= 1;
    if (this.#pagesLeft < 0 || !this.#hasPages(number, 1)) return false;
    const page = this.#read(number, this.#pageSize);
    const lower = page.readUInt16LE(HEADER.lower);
    const upper = page.readUInt16LE(HEADER.upper);
    const isHeader =
      numberAt(page, HEADER.number) === number &&
      numberAt(page, HEADER.transaction) <= this.#transaction &&
      (page.readUInt16LE(HEADER.flags) & PAGE_KIND) === (depth > 1 ? BRANCH : LEAF) &&
      lower % 2 === 0 &&
      lower <= upper &&
      HEADER.bytes + upper <= this.#pageSize;
    if (!isHeader) return false;
    for (let offset = 0; offset < lower; offset += 2) {
      const node = page.readUInt16LE(HEADER.bytes + offset);
      if (node < upper || !this.#isNode(page, HEADER.bytes + node, depth)) return false;
    }
    return true;
  }

  #isNode(page: Buffer, at: number, depth: number): boolean {
    if (at + NODE.bytes > page.length) return false;
    const value = at + NODE.bytes + page.readUInt16LE(at + NODE.keySize);
    const has = (bytes: number) => value + bytes <= page.length;
    if (!has(0)) return false;
    const flags = page.readUInt16LE(at + NODE.flags);
    const size = page.readUInt32LE(at + NODE.size);
    if (depth > 1) return this.#isPage(flags * 2 ** 32 + size, depth - 1);
    if (flags === VALUE_IS_OVERFLOW) {
      return has(OVERFLOW.bytes) && this.#isOverflow(page.subarray(value));
    }
    if (flags === VALUE_IS_TREE) return has(TREE.bytes) && this.#isTree(page, value);
    return flags === 0 && has(size);
  }

  /** Whether the pages of a large value are there. */
  #isOverflow(reference: Buffer): boolean {
    const number = numberAt(reference, OVERFLOW.number);
    const pages = numberAt(reference, OVERFLOW.pages);
    if (!this.#hasPages(number, pages)) return false;
    const header = this.#read(number, HEADER.bytes);
    return (
      numberAt(header, HEADER.number) === number &&
      (header.readUInt16LE(HEADER.flags) & PAGE_KIND) === OVERFLOW_PAGE &&
      header.readUInt32LE(HEADER.pages) === pages
    );
  }

  #read(page: number, bytes: number): Buffer {
    const buffer = Buffer.allocUnsafe(bytes);
    readSync(this.#descriptor, buffer, 0, bytes, page * this.#pageSize);
    return buffer;
  }

  #hasPages(first: number, count: number): boolean {
    return first >= FIRST_PAGE && first + count <= this.#pages;
  }
}

function numberAt(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * 2 ** 32;
}
