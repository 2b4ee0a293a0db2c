import { plain } from "../../lib/conformance/sessions.js";
import type { Request } from "../helpers/stores/counting.js";
import { forEach, responseTooLarge, useEtcd } from "./harness.js";

const etcd = useEtcd();
const { open, raw, traffic } = etcd;

/** More than fit into two pages of keys. */
const all = Array.from({ length: 4500 }, (_, index) => `sid-${String(index).padStart(4, "0")}`);

/** How many keys etcd counts for a request: all of its range, whatever its limit is. */
async function countedBy({ input: { key, range_end } }: Request): Promise<number> {
  return Number((await raw.kv.range({ key, range_end, count_only: true })).count);
}

describe("a listing of 4,500 sessions", () => {
  beforeEach(async () => {
    const store = open();
    await forEach(all, sid => store.set(sid, plain()));
  });

  it("makes etcd count few keys more often than twice", async () => {
    const store = open();
    const requests = await traffic.requestsDuring(() => store.all());
    const counts = await Promise.all(requests.map(countedBy));
    expect(counts.length).toBeGreaterThan(40);
    expect(counts.reduce((sum, count) => sum + count)).toBeLessThan(3 * all.length);
  });

  it("has each of them once while others are saved between them", async () => {
    const [store, other] = [open(), open()];
    const listed: string[] = [];
    for await (const [sid] of store.entries()) {
      if (listed.length % 10 === 0) await forEach(between(sid), each => other.set(each, plain()));
      listed.push(sid);
    }
    expect(new Set(listed).size).toBe(listed.length);
    expect(listed.filter(sid => all.includes(sid))).toEqual(all);
  });
});

it("a listing goes on if a page of keys is too large for a response", async () => {
  const store = open();
  const some = all.slice(0, 50);
  await forEach(some, sid => store.set(sid, plain()));
  traffic.next("range", () => Promise.reject(responseTooLarge));
  expect(await store.ids()).toEqual(some);
});

/** The ids of 20 new sessions, of which half are before the end of the page that is being listed. */
function between(sid: string): string[] {
  return Array.from({ length: 20 }, (_, index) => `${sid.slice(0, 8)}-${index}`);
}
