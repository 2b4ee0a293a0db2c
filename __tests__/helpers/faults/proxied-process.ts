import type { AbstractStore, StoreOptions } from "../../../lib/index.js";
import type { FaultProxy } from "./fault-proxy.js";
import type { Connection, Flaw, ProxyLink } from "./proxied-backends.js";

/** A simulated process with its own client, store and network. */
export class ProxiedProcess {
  static readonly crashMessage = "The process crashed";

  readonly #link: ProxyLink;
  readonly #options: StoreOptions;
  readonly #flaw: Flaw | undefined;
  #connection: Connection;
  #abort = new AbortController();
  /** The conflicts that the store has reported since the process was started. */
  readonly conflicts: { reason: string }[] = [];
  store: AbstractStore;

  private constructor(link: ProxyLink, connection: Connection, options: StoreOptions, flaw?: Flaw) {
    this.#link = link;
    this.#options = options;
    this.#flaw = flaw;
    this.#connection = connection;
    this.store = this.#open();
  }

  static async start(link: ProxyLink, options: StoreOptions, flaw?: Flaw): Promise<ProxiedProcess> {
    return new ProxiedProcess(link, await link.connect(), options, flaw);
  }

  get proxy(): FaultProxy {
    return this.#link.proxy;
  }

  /** The options of each call, so that a crash ends the calls in flight. */
  get callOptions(): { signal: AbortSignal } {
    return { signal: this.#abort.signal };
  }

  /** Crashes the process. Requests in flight may still arrive, but nothing else is sent. */
  crash(): void {
    if (this.#abort.signal.aborted) return;
    this.#abort.abort(new Error(ProxiedProcess.crashMessage));
    this.#connection.close();
  }

  /** Crashes the process, if it has not crashed yet, and starts it again with an empty memory. */
  async restart(): Promise<void> {
    this.crash();
    await this.store.close();
    this.#abort = new AbortController();
    this.#connection = await this.#link.connect();
    this.store = this.#open();
  }

  async stop(): Promise<void> {
    await this.store.close();
    if (!this.#abort.signal.aborted) this.#connection.close();
  }

  #open(): AbstractStore {
    const store = this.#connection.createStore(this.#options, this.#flaw);
    store.on("conflict", conflict => this.conflicts.push(conflict));
    return store;
  }
}
