import { EventEmitter, once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

/** A request of a client, as a policy sees it. */
export interface Call {
  kind: "read" | "write";
  /** The name of the operation: "PutItem", "Txn", "EVALSHA". */
  name: string;
  /** The request as sent. Its key is part of the body: `call.body.includes(key)`. */
  body: Buffer;
  /** The number of this call, counted from 0 for each proxy. */
  index: number;
}

/**
 * What happens to a call:
 * - "forward": delivered, and the client gets the response.
 * - "hold": kept until `release()`. The client gets no response, then or later.
 * - "hold-reset": kept until `release()`. For the client the connection breaks.
 * - "drop-response": delivered immediately. The client gets no response.
 * - "repeat": delivered, the client gets the response, and `release()` delivers it again.
 * - "delay": delivered after the response of a later call, at the latest after `delayMs`. The client gets the response.
 */
export type Fault = "forward" | "hold" | "hold-reset" | "drop-response" | "repeat" | "delay";

export type Policy = (call: Call) => Fault;

export interface FaultProxyOptions {
  /** How the client notices a dropped response: by an error of the connection, or by its own timeout. */
  lostResponse?: "reset" | "hang";
  delayMs?: number;
}

/** One request in the terms of a protocol. */
export interface Exchange<Response = unknown> {
  /** Sends the request to the backend. May be called again, even if the client has closed the connection. */
  deliver(): Promise<Response>;
  respond(response: Response): void;
  /** Fails the request like a broken connection. */
  reset(): void;
}

/** A proxy between a client and a backend that lets a test decide what happens to each request. */
export abstract class FaultProxy {
  readonly counts: Record<Fault, number> = {
    forward: 0,
    hold: 0,
    "hold-reset": 0,
    "drop-response": 0,
    repeat: 0,
    delay: 0,
  };
  protected readonly lostResponse: "reset" | "hang";
  readonly #delayMs: number;
  readonly #events = new EventEmitter().setMaxListeners(0);
  #policy: Policy = () => "forward";
  #held: { call: Call; exchange: Exchange }[] = [];
  #calls = 0;
  #deliveries = 0;

  constructor({ lostResponse = "reset", delayMs = 200 }: FaultProxyOptions = {}) {
    this.lostResponse = lostResponse;
    this.#delayMs = delayMs;
  }

  /** Listens on a free port of 127.0.0.1 and returns the endpoint for clients, in the form of `target`. */
  abstract start(target: string): Promise<string>;

  /** Closes all connections. Held requests are never delivered. */
  abstract close(): Promise<void>;

  /** Sets the policy for the calls from now on. Without a policy, all calls are forwarded. */
  intercept(policy: Policy = () => "forward"): void {
    this.#policy = policy;
  }

  /** The calls that `release()` would deliver, oldest first. */
  get held(): readonly Call[] {
    return this.#held.map(({ call }) => call);
  }

  /** Delivers the oldest held requests, one after the other, and discards the responses. Resolves when it is done. */
  async release(count = Number.POSITIVE_INFINITY): Promise<void> {
    for (const { exchange } of this.#held.splice(0, count)) {
      await this.#deliver(exchange).catch(() => {});
    }
  }

  /** Waits until no request to the backend is in flight. Held requests do not count. */
  async drained(): Promise<void> {
    while (this.#deliveries > 0) await once(this.#events, "delivered");
  }

  /** Resolves when the client has everything that the policy allows. Never rejects. */
  protected async handle(request: Omit<Call, "index">, exchange: Exchange): Promise<void> {
    const call = { ...request, index: this.#calls++ };
    const fault = this.#policy(call);
    this.counts[fault] += 1;
    try {
      if (fault === "hold" || fault === "hold-reset") {
        this.#held.push({ call, exchange });
        if (fault === "hold") this.onHold(exchange);
        else exchange.reset();
        return;
      }
      const response = await this.#deliver(exchange, fault === "delay" ? this.#later(call) : undefined);
      if (fault === "drop-response") {
        if (this.lostResponse === "reset") exchange.reset();
        return;
      }
      if (fault === "repeat") this.#held.push({ call, exchange });
      exchange.respond(response);
      this.#events.emit("answered", call.index);
    } catch {
      // The backend is down or has closed the connection.
      exchange.reset();
    }
  }

  /** Called for each held request. By default, the client's connection stays open. */
  protected onHold(_exchange: Exchange): void {}

  async #deliver(exchange: Exchange, turn?: Promise<void>): Promise<unknown> {
    this.#deliveries += 1;
    try {
      await turn;
      return await exchange.deliver();
    } finally {
      this.#deliveries -= 1;
      this.#events.emit("delivered");
    }
  }

  async #later(call: Call): Promise<void> {
    const end = new AbortController();
    const answered = async () => {
      for (;;) {
        const [index] = await once(this.#events, "answered", { signal: end.signal });
        if (index > call.index) return;
      }
    };
    await Promise.race([answered(), sleep(this.#delayMs, undefined, { signal: end.signal })]).finally(() => {
      end.abort();
    });
  }
}
