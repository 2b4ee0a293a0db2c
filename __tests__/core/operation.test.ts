import events from "node:events";
import { Operation } from "../../lib/core/operation.js";

const never = () => new Promise<never>(() => {});

describe("withTimeout", () => {
  it("gives what the work gives, if that is in time", async () => {
    await expect(new Operation(1000).withTimeout(Promise.resolve(1))).resolves.toBe(1);
    await expect(new Operation(1000).withTimeout(Promise.reject(new Error("down")))).rejects.toThrow("down");
  });

  it("rejects with ERR_STORE_TIMEOUT when the time is up, and the operation is abandoned then", async () => {
    const operation = new Operation(10);
    await expect(operation.withTimeout(never())).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
    expect(operation.isAbandoned).toBe(true);
    expect(() => operation.throwIfAbandoned()).toThrow(
      expect.objectContaining({ code: "ERR_STORE_TIMEOUT" }),
    );
    await expect(operation.withTimeout(never())).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
  });

  it("rejects with the reason of the time limit, not with what the abort of the request makes of it", async () => {
    const operation = new Operation(10);
    const request = new Promise((_resolve, reject) => {
      operation.signal.addEventListener("abort", () => reject(new Error("aborted")));
    });
    // Another caller waits for the same work, like the next save of a session.
    const other = operation.withTimeout(never());
    const limited = operation.withTimeout(request);
    await expect(other).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
    await expect(limited).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
  });

  it("rejects with the caller's reason", async () => {
    const caller = new AbortController();
    const operation = new Operation(1000, caller.signal);
    const limited = operation.withTimeout(never());
    const { signal } = operation;
    caller.abort(new Error("left"));
    await expect(limited).rejects.toThrow("left");
    expect(signal.reason).toEqual(new Error("left"));
  });

  it("leaves no listener on the caller's signal", async () => {
    const { signal } = new AbortController();
    const added = jest.spyOn(signal, "addEventListener");
    const removed = jest.spyOn(signal, "removeEventListener");
    await new Operation(1000, signal).withTimeout(Promise.resolve());
    expect(removed.mock.calls.map(([, listener]) => listener)).toEqual(
      added.mock.calls.map(([, listener]) => listener),
    );
    expect(added).toHaveBeenCalledTimes(1);
  });

  it("begins nothing for a caller who has cancelled before", () => {
    expect(() => new Operation(1000, AbortSignal.abort(new Error("left")))).toThrow("left");
  });
});

describe("signal", () => {
  it("is aborted if the operation was abandoned before it is first read", async () => {
    const operation = new Operation(10);
    await operation.withTimeout(never()).catch(() => {});
    expect(operation.signal.aborted).toBe(true);
  });

  it("takes any number of listeners without a warning of a leak", () => {
    const set = jest.spyOn(events, "setMaxListeners");
    const { signal } = new Operation(1000);
    expect(set).toHaveBeenCalledWith(0, signal);
    set.mockRestore();
  });
});
