import { setImmediate as turn } from "node:timers/promises";
import { Operation } from "../../../lib/core/operation.js";
import type { AbstractStore, WriteResult } from "../../../lib/index.js";
import { below } from "../random.js";

type Primitive = (key: string, change: unknown, operation: Operation) => PromiseLike<WriteResult | undefined>;

const WRITES = ["_write", "_touch", "_remove"] as const;
const LATE_TIMEOUT_MS = 30_000;

/** The faults of a request. */
const fates = [
  "forwarded",
  /** Delivered, the response lost, sent again by the client. */
  "repeated",
  /** Held, sent again by the client, and delivered late. */
  "overtaken",
  /** Delivered, the response lost. */
  "unanswered",
  /** Held, without a response, and delivered late. */
  "delayed",
  /** Delivered with a response, then delivered again. */
  "duplicated",
] as const;

/** The network between stores and their backend. */
export interface Network {
  /** @param process - the number of the process whose store it is */
  connect(store: AbstractStore, process: number): Link;
  /** Delivers all held requests. Later requests have no faults. */
  calm(): Promise<void>;
}

/** The faults so far of one store's requests. */
export interface Link {
  readonly faults: number;
  /** How many requests were, or are still, held. */
  readonly copies: number;
}

type CountedLink = { -readonly [K in keyof Link]: Link[K] };

/** A network that loses, repeats and delays requests as a seed says. */
export class UnreliableNetwork implements Network {
  readonly #random: () => number;
  /** The probability that a request has a fault. */
  #faultRate: number;
  readonly #late: (() => PromiseLike<unknown>)[] = [];
  readonly #deliveries = new Set<Promise<unknown>>();

  constructor(random: () => number, faultRate: number) {
    this.#random = random;
    this.#faultRate = faultRate;
  }

  /** Puts the network between a store and its backend. */
  connect(store: AbstractStore): Link {
    const link = { faults: 0, copies: 0 };
    const primitives = store as unknown as Record<string, Primitive>;
    for (const name of WRITES) {
      const primitive = (primitives[name] as Primitive).bind(store);
      primitives[name] = (key, change, operation) => {
        // A copy arrives whether or not the caller still waits.
        const copy = async () => primitive(key, change, new Operation(LATE_TIMEOUT_MS));
        return this.#send(async () => primitive(key, change, operation), copy, link);
      };
    }
    return link;
  }

  async calm(): Promise<void> {
    this.#faultRate = 0;
    while (this.#late.length > 0) this.#deliverLate();
    await Promise.all(this.#deliveries);
  }

  async #send(
    deliver: () => Promise<WriteResult | undefined>,
    copy: () => Promise<unknown>,
    link: CountedLink,
  ): Promise<WriteResult | undefined> {
    await this.#turns(3);
    while (this.#late.length > 0 && this.#random() < 0.3) this.#deliverLate();
    const fate =
      this.#random() < this.#faultRate ? fates[1 + below(fates.length - 1, this.#random)] : fates[0];
    if (fate !== "forwarded") link.faults += 1;
    if (fate === "overtaken" || fate === "delayed") this.#hold(copy, link);
    if (fate === "repeated" || fate === "unanswered") await deliver();
    if (fate === "unanswered" || fate === "delayed") {
      throw Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
    }
    if (fate === "repeated" || fate === "overtaken") await this.#turns(40);
    const result = await deliver();
    if (fate === "duplicated") this.#hold(copy, link);
    const isRetry = fate === "repeated" || fate === "overtaken";
    return isRetry && result?.written === false ? { ...result, retried: true } : result;
  }

  #hold(copy: () => Promise<unknown>, link: CountedLink): void {
    link.copies += 1;
    this.#late.push(copy);
  }

  #deliverLate(): void {
    const [deliver] = this.#late.splice(below(this.#late.length, this.#random), 1);
    const delivery = Promise.resolve(deliver?.()).catch(() => {});
    this.#deliveries.add(delivery);
    void delivery.finally(() => this.#deliveries.delete(delivery));
  }

  async #turns(end: number): Promise<void> {
    for (let count = below(end, this.#random); count > 0; count--) await turn();
  }
}
