import { ResponseSizeLimit } from "../../lib/etcd/response-size.js";

const KB = 1024;
const MINUTE_MS = 60_000;

function limitAfter(count: number, bytes: number): ResponseSizeLimit {
  const limit = new ResponseSizeLimit();
  for (let seen = 0; seen < count; seen++) limit.observe(bytes);
  return limit;
}

afterEach(() => jest.useRealTimers());

describe("ResponseSizeLimit", () => {
  it("asks for two records as long as no size is known: two of the largest fit", () => {
    expect(new ResponseSizeLimit().maxRecords).toBe(2);
  });

  it("asks for as many records as it has seen sizes", () => {
    expect(limitAfter(64, KB).maxRecords).toBe(64);
  });

  it("asks for no more than fit below 4 MiB if the next are much larger than those seen", () => {
    expect(limitAfter(10_000, KB).maxRecords * 35 * KB).toBeLessThan(4 * KB * KB);
  });

  it.each([100, 500, 1500])("asks for fewer of %d KB", size => {
    const limit = limitAfter(1000, size * KB);
    expect(limit.maxRecords).toBeGreaterThan(0);
    expect(limit.maxRecords * size * KB).toBeLessThan(4 * KB * KB);
  });

  it("asks for one at a time of what fills a response or more, which a raised limit allows", () => {
    expect(limitAfter(1000, 3700 * KB).maxRecords).toBe(1);
    expect(limitAfter(1000, 16 * KB * KB).maxRecords).toBe(1);
  });

  it("remembers a large record among small ones for ten minutes at least, and twenty at most", () => {
    jest.useFakeTimers();
    const limit = limitAfter(100, KB);
    limit.observe(1000 * KB);
    for (let seen = 0; seen < 1000; seen++) limit.observe(KB);
    expect(limit.maxRecords).toBe(3);
    jest.advanceTimersByTime(10 * MINUTE_MS);
    expect(limit.maxRecords).toBe(3);
    jest.advanceTimersByTime(10 * MINUTE_MS);
    expect(limit.maxRecords).toBeGreaterThan(100);
  });

  it("begins again with two when a response was too large after all", () => {
    const limit = limitAfter(1000, KB);
    limit.tooLarge();
    expect(limit.maxRecords).toBe(2);
  });
});
