interface Node {
  readonly key: string;
  size: number;
  older: Node;
  newer: Node;
}

/**
 * Keys in the order of their last use, each with a size. A linked list rather than the order of a `Map`, which passes
 * over all keys that were deleted before it finds its first one.
 */
export class UsageOrder {
  readonly #nodes = new Map<string, Node>();
  /** Stands between the newest and the oldest, so that there is always a neighbor. */
  readonly #end: Node;
  /** The sum of the sizes. */
  size = 0;

  constructor() {
    const end = { key: "", size: 0 } as Node;
    this.#end = Object.assign(end, { older: end, newer: end });
  }

  get count(): number {
    return this.#nodes.size;
  }

  get oldest(): string | undefined {
    return this.#nodes.size === 0 ? undefined : this.#end.newer.key;
  }

  /** Makes a key that is known the newest. */
  use(key: string): void {
    const node = this.#nodes.get(key);
    if (node === undefined) return;
    unlink(node);
    this.#append(node);
  }

  set(key: string, size: number): void {
    this.delete(key);
    const node = { key, size } as Node;
    this.#nodes.set(key, node);
    this.size += size;
    this.#append(node);
  }

  delete(key: string): void {
    const node = this.#nodes.get(key);
    if (node === undefined) return;
    this.#nodes.delete(key);
    this.size -= node.size;
    unlink(node);
  }

  #append(node: Node): void {
    node.older = this.#end.older;
    node.newer = this.#end;
    this.#end.older.newer = node;
    this.#end.older = node;
  }
}

function unlink({ older, newer }: Node): void {
  older.newer = newer;
  newer.older = older;
}
