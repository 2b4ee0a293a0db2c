import { plain } from "../../lib/conformance/sessions.js";
import { type Operation, StoreError, type StoreOptions } from "../../lib/index.js";
import { never, ScriptedStore } from "../helpers/stores/scripted-store.js";

const open = (options: StoreOptions = {}) => new ScriptedStore(options);

describe("errors of a backend", () => {
  const causes: [string, unknown][] = [
    ["an Error", new Error("down")],
    [
      "an error with the code ENOENT, which express-session takes for no session",
      Object.assign(new Error(), { code: "ENOENT" }),
    ],
    ["a string", "down"],
    ["undefined", undefined],
  ];

  it.each(causes)("become ERR_STORE_UNAVAILABLE with the original as cause: %s", async (_name, cause) => {
    const store = open();
    store.script._read = () => Promise.reject(cause);
    await expect(store.get("sid")).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE", cause });
    store.script._read = () => {
      throw cause;
    };
    await expect(store.get("sid")).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE", cause });
  });

  it("pass as they are if they have a code of the stores", async () => {
    const store = open();
    const error = new StoreError("ERR_SESSION_TOO_LARGE", "too large");
    store.script._write = () => {
      throw error;
    };
    await expect(store.set("sid", plain())).rejects.toBe(error);
  });

  it("reach a listing, whichever page they come with", async () => {
    const store = open();
    store.script._scan = async function* () {
      yield [];
      throw new Error("down");
    };
    for (const method of ["all", "ids", "length", "clear"] as const) {
      await expect(store[method]()).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    }
    await expect(store.entries().next()).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
  });

  it("do not end the process if nobody awaits the promise", async () => {
    const store = open();
    store.script._remove = () => Promise.reject(new Error("down"));
    const unhandled = jest.fn();
    process.on("unhandledRejection", unhandled);
    void store.destroy("sid");
    // The same call as that of Session#destroy() without a callback.
    void store.destroy("sid", undefined);
    await new Promise(resolve => setImmediate(resolve));
    process.off("unhandledRejection", unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });
});

describe("an asynchronous serializer that fails", () => {
  const unhandled = jest.fn();
  const serializer = { stringify: () => Promise.reject(new Error("no key")), parse: JSON.parse };
  beforeEach(() => {
    unhandled.mockClear();
    process.on("unhandledRejection", unhandled);
  });
  afterEach(async () => {
    await new Promise(resolve => setImmediate(resolve));
    process.off("unhandledRejection", unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });

  it("fails a save that waits for another of its session, and nothing else", async () => {
    const store = open({ serializer });
    let removed = () => {};
    store.script._remove = () =>
      new Promise(resolve => {
        removed = resolve;
      });
    const removal = store.destroy("sid");
    const save = store.set("sid", plain());
    await new Promise(resolve => setImmediate(resolve));
    removed();
    await removal;
    await expect(save).rejects.toMatchObject({ code: "ERR_SESSION_SERIALIZE" });
  });

  it("fails a save that is refused for something else, too", async () => {
    const store = open({ serializer, ttl: () => Number.NaN });
    await expect(store.set("sid", plain())).rejects.toThrow("ttl(session)");
  });
});

describe("a backend that does not answer", () => {
  it.each(["get", "destroy", "ping"] as const)(
    "ends %s with ERR_STORE_TIMEOUT, and aborts its signal",
    async method => {
      const store = open({ timeoutMs: 20 });
      let signal: AbortSignal | undefined;
      const hang = (operation: Operation) => {
        signal = operation.signal;
        return never();
      };
      store.script._read = (_key, operation) => hang(operation);
      store.script._remove = (_key, _removal, operation) => hang(operation);
      await expect(method === "ping" ? store.ping() : store[method]("sid")).rejects.toMatchObject({
        code: "ERR_STORE_TIMEOUT",
        message: expect.stringContaining("20 ms"),
      });
      expect(signal?.aborted).toBe(true);
    },
  );

  it.each(["all", "ids", "length", "clear"] as const)("ends %s within the time of a page", async method => {
    const store = open({ timeoutMs: 20 });
    // biome-ignore lint/correctness/useYield: it waits forever before that
    store.script._scan = async function* () {
      await never();
    };
    await expect(store[method]()).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
  });

  it("does not time out a listing of many pages that each come in time", async () => {
    const store = open({ timeoutMs: 60 });
    store.script._scan = async function* () {
      for (let page = 0; page < 8; page++) {
        await new Promise(resolve => setTimeout(resolve, 15));
        yield [];
      }
    };
    await expect(store.length()).resolves.toBe(0);
  });

  it("rejects with the caller's reason when its signal is aborted, and aborts the backend's", async () => {
    const store = open();
    let signal: AbortSignal | undefined;
    store.script._read = (_key, operation) => {
      signal = operation.signal;
      return never();
    };
    const controller = new AbortController();
    const getting = store.get("sid", { signal: controller.signal });
    controller.abort(new Error("the client left"));
    await expect(getting).rejects.toThrow("the client left");
    expect(signal?.aborted).toBe(true);
  });

  it("leaves no timer behind that keeps the process", async () => {
    const store = open({ timeoutMs: 60_000 });
    store.script._read = async () => undefined;
    const cleared = jest.spyOn(globalThis, "clearTimeout");
    await store.get("sid");
    expect(cleared).toHaveBeenCalled();
    cleared.mockRestore();
  });
});
