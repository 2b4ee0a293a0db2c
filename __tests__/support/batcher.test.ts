import { AsyncLocalStorage } from "node:async_hooks";
import { setImmediate as turn } from "node:timers/promises";
import { type Batchable, Batcher, type BatcherOptions } from "../../lib/support/batcher.js";

class Item implements Batchable {
  readonly key: string;
  readonly name: string;
  readonly size: number;
  readonly operation = { isAbandoned: false };

  constructor(name: string, key = name, size = 1) {
    this.name = name;
    this.key = key;
    this.size = size;
  }
}

const failure = new Error("one of these is bad");

interface Sent {
  names: string[];
  succeed(): void;
  fail(error: Error): void;
}

/** Waits for the effects of a response, which come at the end of the next turn. */
async function settle(): Promise<void> {
  await turn();
  await turn();
}

/** A batcher whose responses the test sends. Each item's result is its name in capitals. */
function scripted(options: Partial<BatcherOptions<Item, string>> = {}, limits = {}) {
  const sent: Sent[] = [];
  const batcher = new Batcher<Item, string>({
    send: items =>
      new Promise((resolve, reject) => {
        const names = items.map(({ name }) => name);
        const succeed = () => resolve(names.map(name => name.toUpperCase()));
        sent.push({ names, succeed, fail: reject });
      }),
    limits: () => ({ items: 100, bytes: 1000, ...limits }),
    maxInFlight: 4,
    allowSameKey: true,
    retryIndividually: () => false,
    ...options,
  });
  return {
    sent,
    add: (...items: (Item | string)[]) =>
      items.map(item => batcher.add(typeof item === "string" ? new Item(item) : item)),
    /** Returns the names sent so far, request by request. */
    names: async () => {
      await settle();
      return sent.map(({ names }) => names.join(" "));
    },
    /** Lets every request succeed, until no more are sent. */
    finish: async () => {
      for (let answered = 0; ; answered++) {
        await settle();
        if (answered === sent.length) return;
        sent[answered]?.succeed();
      }
    },
  };
}

describe("Batcher", () => {
  it("sends what is added in one turn of the event loop as one request, and answers each", async () => {
    const { add, names, finish } = scripted();
    const results = add("a", "b", "c");
    expect(await names()).toEqual(["a b c"]);
    await finish();
    expect(await Promise.all(results)).toEqual(["A", "B", "C"]);
  });

  it("sends a lone item in its own turn if nothing is under way", async () => {
    const { add, sent } = scripted();
    void add("a");
    expect(sent).toEqual([]);
    await new Promise<void>(resolve => process.nextTick(resolve));
    expect(sent.map(({ names }) => names)).toEqual([["a"]]);
  });

  it("gathers what comes in one turn while something is under way", async () => {
    const { add, names } = scripted();
    void add("a");
    await names();
    for (const name of ["b", "c", "d"]) {
      void add(name);
      await new Promise<void>(resolve => process.nextTick(resolve));
    }
    expect(await names()).toEqual(["a", "b c d"]);
  });

  it("sends what waited together with what the answers set off", async () => {
    const { add, names, sent } = scripted({ maxInFlight: 1 });
    const [first] = add("a");
    const next = first?.then(() => add("c"));
    await names();
    void add("b");
    sent[0]?.succeed();
    await next;
    expect(await names()).toEqual(["a", "b c"]);
  });

  it("never joins an item to a request that is under way, even for the same key", async () => {
    const { add, names, sent } = scripted();
    const [first] = add(new Item("a", "key"));
    await names();
    const [second] = add(new Item("b", "key"));
    expect(await names()).toEqual(["a", "b"]);
    sent[1]?.succeed();
    expect(await second).toBe("B");
    sent[0]?.succeed();
    expect(await first).toBe("A");
  });

  it("puts no more items into a request than the limit", async () => {
    const { add, names } = scripted({}, { items: 2 });
    void add("a", "b", "c", "d", "e");
    expect(await names()).toEqual(["a b", "c d", "e"]);
  });

  it("puts no more bytes into a request than the limit, unless one item has more", async () => {
    const { add, names } = scripted({}, { bytes: 10 });
    void add(new Item("a", "a", 5), new Item("b", "b", 5), new Item("c", "c", 1), new Item("big", "big", 11));
    expect(await names()).toEqual(["a b", "c", "big"]);
  });

  it("has no more requests under way than the limit; what waits meanwhile goes out together", async () => {
    const { add, names, sent, finish } = scripted({ maxInFlight: 2 });
    for (const name of ["a", "b", "c", "d", "e"]) {
      void add(name);
      await turn();
    }
    expect(await names()).toEqual(["a", "b"]);
    sent[1]?.succeed();
    expect(await names()).toEqual(["a", "b", "c d e"]);
    await finish();
  });

  it("counts a request that failed as ended", async () => {
    const { add, names, sent } = scripted({ maxInFlight: 1 });
    const [first] = add("a");
    await names();
    void add("b");
    sent[0]?.fail(new Error("refused"));
    await expect(first).rejects.toThrow("refused");
    expect(await names()).toEqual(["a", "b"]);
  });

  it("asks for the limits anew before each request", async () => {
    const limits = { items: 1, bytes: 1000 };
    const { add, names, sent } = scripted({ limits: () => limits, maxInFlight: 1 });
    void add("a", "b", "c");
    expect(await names()).toEqual(["a"]);
    limits.items = 2;
    sent[0]?.succeed();
    expect(await names()).toEqual(["a", "b c"]);
  });

  it("does not send items whose caller no longer waits, and rejects them", async () => {
    const { add, names, sent } = scripted({ maxInFlight: 1 });
    const items = ["a", "b", "c"].map(name => new Item(name));
    const results = add(...items.slice(0, 2));
    for (const item of items.slice(1)) item.operation.isAbandoned = true;
    expect(await names()).toEqual(["a"]);
    results.push(...add(...items.slice(2)));
    sent[0]?.succeed();
    void add("d");
    for (const given of results.slice(1)) await expect(given).rejects.toThrow("cancelled before it was sent");
    expect(await names()).toEqual(["a", "d"]);
  });

  describe("with several items of one key", () => {
    it("puts them into one request if it may", async () => {
      const { add, names, finish } = scripted();
      const results = add(new Item("a", "key"), new Item("b", "key"));
      expect(await names()).toEqual(["a b"]);
      await finish();
      expect(await Promise.all(results)).toEqual(["A", "B"]);
    });

    it("sends them one after the other if it may not: the next when the one before is answered", async () => {
      const { add, names, sent } = scripted({ allowSameKey: false });
      const items = [new Item("a1", "a"), new Item("b1", "b"), new Item("a2", "a"), new Item("c1", "c")];
      const results = Promise.allSettled(add(...items));
      expect(await names()).toEqual(["a1 b1 c1"]);
      void add(new Item("a3", "a"), new Item("d1", "d"));
      expect(await names()).toEqual(["a1 b1 c1", "d1"]);
      sent[0]?.succeed();
      expect(await names()).toEqual(["a1 b1 c1", "d1", "a2"]);
      sent[2]?.fail(failure);
      expect(await names()).toEqual(["a1 b1 c1", "d1", "a2", "a3"]);
      expect(await results).toMatchObject([
        { value: "A1" },
        { value: "B1" },
        { reason: failure },
        { value: "C1" },
      ]);
    });

    it("keeps their order also when the request with the first is refused", async () => {
      const { add, names, sent, finish } = scripted({ allowSameKey: false, retryIndividually: () => true });
      void add(new Item("a1", "a"), new Item("b1", "b"), new Item("a2", "a"));
      await names();
      sent[0]?.fail(failure);
      expect(await names()).toEqual(["a1 b1", "a1", "b1"]);
      sent[1]?.succeed();
      expect(await names()).toEqual(["a1 b1", "a1", "b1", "a2"]);
      await finish();
    });

    it("lets no item overtake an earlier one of its key that did not fit", async () => {
      const { add, names, finish } = scripted({ allowSameKey: false, maxInFlight: 1 }, { bytes: 10 });
      void add(new Item("a", "a", 9), new Item("b1", "b", 2), new Item("b2", "b", 1), new Item("c", "c", 1));
      expect(await names()).toEqual(["a c"]);
      await finish();
      expect(await names()).toEqual(["a c", "b1", "b2"]);
    });
  });

  describe("when a request fails", () => {
    it("fails all of its items alike", async () => {
      const { add, names, sent } = scripted();
      const results = Promise.allSettled(add("a", "b"));
      await names();
      sent[0]?.fail(failure);
      const rejected = { status: "rejected", reason: failure };
      expect(await results).toEqual([rejected, rejected]);
      expect(await names()).toEqual(["a b"]);
    });

    it("sends each item by itself if it may be one item's fault, so that the others go on", async () => {
      const { add, names, sent } = scripted({ retryIndividually: error => error === failure });
      const results = Promise.allSettled(add("a", "bad", "c"));
      await names();
      sent[0]?.fail(failure);
      expect(await names()).toEqual(["a bad c", "a", "bad", "c"]);
      sent[1]?.succeed();
      sent[2]?.fail(failure);
      sent[3]?.succeed();
      expect(await results).toEqual([
        { status: "fulfilled", value: "A" },
        { status: "rejected", reason: failure },
        { status: "fulfilled", value: "C" },
      ]);
      expect(await names()).toHaveLength(4);
    });

    it("does not send items again whose caller no longer waits", async () => {
      const { add, names, sent } = scripted({ retryIndividually: () => true });
      const ended = new Item("b");
      const [first, second] = add("a", ended);
      await names();
      ended.operation.isAbandoned = true;
      sent[0]?.fail(failure);
      await expect(second).rejects.toThrow("cancelled before it was sent");
      expect(await names()).toEqual(["a b", "a"]);
      sent[1]?.succeed();
      expect(await first).toBe("A");
    });

    it("goes on with what waits, with no more requests under way than the limit", async () => {
      const { add, names, sent } = scripted({ retryIndividually: () => true, maxInFlight: 1 });
      const results = Promise.allSettled(add("a", "b"));
      await names();
      const [waiting] = add("c");
      for (const expected of ["a b", "a", "b"]) {
        expect((await names()).at(-1)).toBe(expected);
        sent.at(-1)?.fail(failure);
      }
      expect(await names()).toEqual(["a b", "a", "b", "c"]);
      sent.at(-1)?.succeed();
      expect(await waiting).toBe("C");
      expect(await results).toMatchObject([{ reason: failure }, { reason: failure }]);
    });
  });

  describe("a request that hangs", () => {
    it("gives its place to later items after `maxHoldMs`", async () => {
      jest.useFakeTimers({ doNotFake: ["nextTick", "setImmediate"] });
      try {
        const { add, names } = scripted({ maxInFlight: 1, maxHoldMs: 250 });
        void add("a");
        expect(await names()).toEqual(["a"]);
        void add("b");
        expect(await names()).toEqual(["a"]);
        jest.advanceTimersByTime(250);
        expect(await names()).toEqual(["a", "b"]);
      } finally {
        jest.useRealTimers();
      }
    });

    it("does not free its place a second time when it settles", async () => {
      jest.useFakeTimers({ doNotFake: ["nextTick", "setImmediate"] });
      try {
        const { add, names, sent } = scripted({ maxInFlight: 1, maxHoldMs: 250 });
        void add("a");
        await names();
        jest.advanceTimersByTime(250);
        void add("b");
        expect(await names()).toEqual(["a", "b"]);
        sent[0]?.succeed();
        void add("c");
        expect(await names()).toEqual(["a", "b"]);
      } finally {
        jest.useRealTimers();
      }
    });
  });

  it("sends requests in no caller's AsyncLocalStorage context", async () => {
    const requests = new AsyncLocalStorage<string>();
    const contexts: unknown[] = [];
    const batcher = new Batcher<Item, string>({
      send: async items => {
        contexts.push(requests.getStore());
        return items.map(({ name }) => name);
      },
      limits: () => ({ items: 100, bytes: 1000 }),
      maxInFlight: 1,
      allowSameKey: true,
      retryIndividually: () => false,
    });
    const add = (name: string) =>
      requests.run(name, async () => [await batcher.add(new Item(name)), requests.getStore()]);
    expect(await Promise.all([add("a"), add("b")])).toEqual([
      ["a", "a"],
      ["b", "b"],
    ]);
    expect(contexts).toEqual([undefined]);
  });
});
