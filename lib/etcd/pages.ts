import type { IKeyValue, IRangeRequest, IRangeResponse } from "etcd3";

/** This many of the longest keys fit into a response. */
const PAGE_KEYS = 2000;

type Pages = AsyncGenerator<IKeyValue[], void, undefined>;

/** Requests a page: adds a limit to the range, and whatever else it wants. */
type PageRequest = (range: IRangeRequest) => Promise<IRangeResponse>;

/**
 * The keys that begin with a prefix, in pages. A key that exists during the whole listing is in exactly one page.
 *
 * @param from - what follows the prefix in the first key
 */
export function pagesOf(prefix: string, request: PageRequest, from = ""): Pages {
  return pagesBetween(Buffer.from(`${prefix}${from}` || "\0"), endOfPrefix(prefix), request);
}

/** As {@link pagesOf}, without the values, in the longest pages that are sure to fit into a response. */
export function keyPagesOf(prefix: string, request: PageRequest, from?: string): Pages {
  return pagesOf(prefix, range => request({ ...range, limit: PAGE_KEYS, keys_only: true }), from);
}

/**
 * As {@link pagesOf}, for pages that are short because of their values. For each page etcd counts all keys of the
 * range, whatever the limit is. So the time of many pages of one range would grow with the square of its keys. Here,
 * long pages without values come first, and each short page has a range of its own.
 *
 * @param maxRecords - the limit that `request` would set now
 */
export async function* shortPagesOf(
  prefix: string,
  request: PageRequest,
  maxRecords: () => number,
  from?: string,
): Pages {
  for await (const keys of keyPagesOf(prefix, request, from)) {
    for (let index = 0; index < keys.length; ) {
      const { key } = keys[index] as IKeyValue;
      index += maxRecords();
      yield* pagesBetween(key, keys[index]?.key ?? keyAfter(keys.at(-1) as IKeyValue), request);
    }
  }
}

async function* pagesBetween(start: Buffer, range_end: Buffer, request: PageRequest): Pages {
  let key = start;
  for (;;) {
    const { kvs, more } = await request({ key, range_end });
    yield kvs;
    const last = kvs.at(-1);
    if (!more || last === undefined) return;
    key = keyAfter(last);
  }
}

function keyAfter({ key }: IKeyValue): Buffer {
  return Buffer.concat([key, Buffer.from([0])]);
}

/** The first key after all that begin with `prefix`. A zero byte means the end of all keys. */
export function endOfPrefix(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  const last = end.length - 1;
  // UTF-8 never has a byte 255, so the last byte can always be incremented.
  if (last >= 0) end.writeUInt8(end.readUInt8(last) + 1, last);
  return last < 0 ? Buffer.from([0]) : end;
}
