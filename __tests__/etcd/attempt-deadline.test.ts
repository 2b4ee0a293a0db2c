import { Etcd3 } from "etcd3";
import { Operation } from "../../lib/core/operation.js";
import { AttemptDeadlines } from "../../lib/etcd/attempt-deadline.js";
import { etcdClient, etcdEndpoints, freePorts } from "../helpers/engines/engines.js";

/** How much later than the deadline of the operation the client times out. */
const CLIENT_DELAY_MS = 500;

describe("the attempts of a call", () => {
  beforeEach(() => {
    jest.useFakeTimers();
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  function attempt(attempts: AttemptDeadlines): number {
    return attempts.callOptions.deadline - Date.now();
  }

  it("get a third of the time each, the last what is left", () => {
    const attempts = new AttemptDeadlines([new Operation(5500)]);
    expect(attempt(attempts)).toBe(2000);
    jest.advanceTimersByTime(2100);
    expect(attempt(attempts)).toBe(2000);
    jest.advanceTimersByTime(2100);
    expect(attempt(attempts)).toBe(1800);
    expect(attempts.count).toBe(3);
  });

  it("have a second at least, if there is as much", () => {
    expect(attempt(new AttemptDeadlines([new Operation(1000)]))).toBe(1000);
    expect(attempt(new AttemptDeadlines([new Operation(100)]))).toBe(100 + CLIENT_DELAY_MS);
  });

  it("are as many as fit into the time of the operation that has most, and none begins later", () => {
    const attempts = new AttemptDeadlines([new Operation(100), new Operation(2500)]);
    jest.advanceTimersByTime(2500 + CLIENT_DELAY_MS - 1);
    expect(attempt(attempts)).toBe(1);
    jest.advanceTimersByTime(1);
    expect(() => attempt(attempts)).toThrow("Time limit reached; no further attempt is made");
    expect(attempts.count).toBe(1);
  });
});

// Checks the assumptions of the class about etcd3.
describe("etcd3 reads the deadline", () => {
  const range = { key: Buffer.from("key") };

  it("once for an attempt, with and without call options of the client", async () => {
    const clients = [
      etcdClient(),
      new Etcd3({ hosts: etcdEndpoints(), defaultCallOptions: () => ({ deadline: Date.now() + 10_000 }) }),
    ];
    for (const client of clients) {
      const attempts = new AttemptDeadlines([new Operation(5000)]);
      await client.kv.range(range, attempts.callOptions);
      expect(attempts.count).toBe(1);
      client.close();
    }
  });

  it("once for each attempt at a call that fails", async () => {
    const ports = await freePorts(2);
    const client = new Etcd3({ hosts: ports.map(port => `127.0.0.1:${port}`) });
    const attempts = new AttemptDeadlines([new Operation(5000)]);
    await expect(client.kv.range(range, attempts.callOptions)).rejects.toThrow("UNAVAILABLE");
    // The first attempt and three more.
    expect(attempts.count).toBe(4);
    client.close();
  });
});
