import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  openSync,
  read,
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

/**
 * A larger file (200 MB) has only its branches read, 2 % of its pages: 1 million sessions take 0.2 s, 0.7 s if uncached.
 * A mark "checked since the machine started" would save more, but pass a file that was damaged or restored since.
 */
const FULL_CHECK_PAGES = 50_000;

const PAGE_KIND = 0x6f;
const BRANCH = 0x01;
const LEAF = 0x02;
const OVERFLOW_PAGE = 0x04;
const VALUE_IS_OVERFLOW = 0x01;
const VALUE_IS_TREE = 0x02;

/**
 * Checks a file before LMDB opens it: a foreign, truncated or damaged file would end the process with a signal. Damage
 * inside a value is not found. Pages are read asynchronously, so that even a slow disk never holds the event loop.
 *
 * @throws Error if there is something at `path` that is not a sound LMDB file
 */
export async function assertLmdbOrNew(path: string, fullCheckPages = FULL_CHECK_PAGES): Promise<void> {
  const size = assertUsable(path)?.size ?? 0;
  assertUsable(`${path}-lock`);
  // A process that was killed before its first write leaves an empty file.
  if (size === 0) return;
  const descriptor = openSync(path, "r");
  try {
    const meta = newestMeta(descriptor);
    if (meta !== undefined) {
      if (await new Walk(descriptor, meta, fullCheckPages).isSound()) return;
      // Another process may have written in the meantime, to pages that were free when the check began.
      if (newestMeta(descriptor)?.equals(meta) === false) return;
    }
    throw new Error("it is not a file of this store, or it is damaged; it was not modified");
  } finally {
    closeSync(descriptor);
  }
}

/** LMDB opens both files for writing, and lmdb-js does not survive it if that fails. */
function assertUsable(path: string): Stats | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isFile() === false) throw new Error(`${path} is not a regular file`);
  if (stats !== undefined && stats.nlink > 1) {
    throw new Error(`${path} has other names (hard links), which would not share its lock file`);
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

/** Follows every tree of the file, from one meta page. */
class Walk {
  readonly #descriptor: number;
  readonly #meta: Buffer;
  readonly #pageSize: number;
  readonly #transaction: number;
  /** The file may end before the last page, if that is free: it is then not written. */
  readonly #pages: number;
  /** The lowest level of a table's tree that is read. 1 is that of the leaves. */
  readonly #lowestLevel: number;
  #pagesLeft: number;

  constructor(descriptor: number, meta: Buffer, fullCheckPages: number) {
    this.#descriptor = descriptor;
    this.#meta = meta;
    this.#pageSize = pageSizeOf(meta);
    this.#transaction = numberAt(meta, META.transaction);
    const filePages = Math.floor(fstatSync(descriptor).size / this.#pageSize);
    this.#pages = Math.min(numberAt(meta, META.lastPage) + 1, filePages);
    this.#lowestLevel = this.#pages > fullCheckPages ? 2 : 1;
    this.#pagesLeft = this.#pages;
  }

  async isSound(): Promise<boolean> {
    const isSound = await this.#isTree(this.#meta, META.freeList, 1);
    return isSound && (await this.#isTree(this.#meta, META.directory, 1));
  }

  async #isTree(buffer: Buffer, at: number, lowestLevel: number): Promise<boolean> {
    const root = numberAt(buffer, at + TREE.root);
    const depth = buffer.readUInt16LE(at + TREE.depth);
    if (root === NO_PAGE) return depth === 0;
    return depth > 0 && depth <= MAX_DEPTH && (await this.#isPage(root, depth, lowestLevel));
  }

  /** @param level - how many levels the tree has from here; 1 for a leaf */
  async #isPage(number: number, level: number, lowestLevel: number): Promise<boolean> {
    // A tree that has a page twice has no end.
    this.#pagesLeft -= 1;
    if (this.#pagesLeft < 0 || !this.#hasPages(number, 1)) return false;
    if (level < lowestLevel) return true;
    const page = await this.#read(number, this.#pageSize);
    const lower = page.readUInt16LE(HEADER.lower);
    const upper = page.readUInt16LE(HEADER.upper);
    const isHeader =
      numberAt(page, HEADER.number) === number &&
      numberAt(page, HEADER.transaction) <= this.#transaction &&
      (page.readUInt16LE(HEADER.flags) & PAGE_KIND) === (level > 1 ? BRANCH : LEAF) &&
      lower % 2 === 0 &&
      lower <= upper &&
      HEADER.bytes + upper <= this.#pageSize;
    if (!isHeader) return false;
    const nodes: number[] = [];
    for (let offset = 0; offset < lower; offset += 2) {
      const node = page.readUInt16LE(HEADER.bytes + offset);
      if (node < upper || !isNode(page, HEADER.bytes + node)) return false;
      nodes.push(HEADER.bytes + node);
    }
    return level > 1
      ? await this.#areBranches(page, nodes, level - 1, lowestLevel)
      : await this.#areValues(page, nodes);
  }

  /** Pages of the lowest level are read together, which hides the latency of the disk. */
  async #areBranches(page: Buffer, nodes: number[], level: number, lowestLevel: number): Promise<boolean> {
    const check = (at: number) => {
      const number = page.readUInt16LE(at + NODE.flags) * 2 ** 32 + page.readUInt32LE(at + NODE.size);
      return this.#isPage(number, level, lowestLevel);
    };
    if (level <= lowestLevel) return (await Promise.all(nodes.map(check))).every(Boolean);
    for (const node of nodes) if (!(await check(node))) return false;
    return true;
  }

  async #areValues(page: Buffer, nodes: number[]): Promise<boolean> {
    for (const at of nodes) {
      const value = at + NODE.bytes + page.readUInt16LE(at + NODE.keySize);
      const has = (bytes: number) => value + bytes <= page.length;
      const flags = page.readUInt16LE(at + NODE.flags);
      if (flags === VALUE_IS_OVERFLOW) {
        if (!has(OVERFLOW.bytes) || !(await this.#isOverflow(page.subarray(value)))) return false;
      } else if (flags === VALUE_IS_TREE) {
        if (!has(TREE.bytes) || !(await this.#isTree(page, value, this.#lowestLevel))) return false;
      } else if (flags !== 0 || !has(page.readUInt32LE(at + NODE.size))) return false;
    }
    return true;
  }

  /** Whether the pages of a large value are there. */
  async #isOverflow(reference: Buffer): Promise<boolean> {
    const number = numberAt(reference, OVERFLOW.number);
    const pages = numberAt(reference, OVERFLOW.pages);
    if (!this.#hasPages(number, pages)) return false;
    const header = await this.#read(number, HEADER.bytes);
    return (
      numberAt(header, HEADER.number) === number &&
      (header.readUInt16LE(HEADER.flags) & PAGE_KIND) === OVERFLOW_PAGE &&
      header.readUInt32LE(HEADER.pages) === pages
    );
  }

  #read(page: number, bytes: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      // Zeros where the file ends too early.
      const buffer = Buffer.alloc(bytes);
      read(this.#descriptor, buffer, 0, bytes, page * this.#pageSize, error => {
        if (error) reject(error);
        else resolve(buffer);
      });
    });
  }

  #hasPages(first: number, count: number): boolean {
    return first >= FIRST_PAGE && first + count <= this.#pages;
  }
}

/** Whether the header and the key of a node are inside its page. */
function isNode(page: Buffer, at: number): boolean {
  const key = at + NODE.bytes;
  return key <= page.length && key + page.readUInt16LE(at + NODE.keySize) <= page.length;
}

function numberAt(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * 2 ** 32;
}
