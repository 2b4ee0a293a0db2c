import type { IKeyValue, IRangeRequest, IRangeResponse } from "etcd3";

/**
 * The keys that begin with a prefix, in pages. A key that exists during the whole listing is in exactly one page.
 *
 * @param request - requests a page: adds a limit to the range, and whatever else it wants
 * @param from - what follows the prefix in the first key
 */
export async function* pagesOf(
  prefix: string,
  request: (range: IRangeRequest) => Promise<IRangeResponse>,
  from = "",
): AsyncGenerator<IKeyValue[], void, undefined> {
  const range_end = endOfPrefix(prefix);
  let key = Buffer.from(`${prefix}${from}` || "\0");
  for (;;) {
    const { kvs, more } = await request({ key, range_end });
    yield kvs;
    const last = kvs.at(-1);
    if (!more || last === undefined) return;
    key = Buffer.concat([last.key, Buffer.from([0])]);
  }
}

/** The first key after all that begin with `prefix`. A zero byte means the end of all keys. */
export function endOfPrefix(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  const last = end.length - 1;
  // UTF-8 never has a byte 255, so the last byte can always be incremented.
  if (last >= 0) end.writeUInt8(end.readUInt8(last) + 1, last);
  return last < 0 ? Buffer.from([0]) : end;
}
