import { Operation } from "../../lib/core/operation.js";
import { Attempts } from "../../lib/etcd/attempt-deadline.js";

/** How much later than the deadline of the operation the client is told to give up. */
const CLIENT_DELAY_MS = 500;

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

function attempt(attempts: Attempts): number {
  return attempts.callOptions.deadline - Date.now();
}

it("get a third of the time each, the last what is left", () => {
  const attempts = new Attempts([new Operation(5500)]);
  expect(attempt(attempts)).toBe(2000);
  jest.advanceTimersByTime(2100);
  expect(attempt(attempts)).toBe(2000);
  jest.advanceTimersByTime(2100);
  expect(attempt(attempts)).toBe(1800);
  expect(attempts.count).toBe(3);
});

it("have a second at least, if there is as much", () => {
  expect(attempt(new Attempts([new Operation(1000)]))).toBe(1000);
  expect(attempt(new Attempts([new Operation(100)]))).toBe(100 + CLIENT_DELAY_MS);
});

it("are as many as fit into the time of the operation that has most, and none is begun later", () => {
  const attempts = new Attempts([new Operation(100), new Operation(2500)]);
  jest.advanceTimersByTime(2500 + CLIENT_DELAY_MS - 1);
  expect(attempt(attempts)).toBe(1);
  jest.advanceTimersByTime(1);
  expect(() => attempt(attempts)).toThrow("The time for this call is up.");
  expect(attempts.count).toBe(1);
});
