import type { ProxyLink } from "../faults/proxied-backends.js";
import { injectRandomFaults } from "../faults/random-faults.js";
import type { Link, Network } from "./unreliable.js";

const FAULTS = { hold: 0.02, "drop-response": 0.05, repeat: 0.05, delay: 0.05, release: 0.2 };

/** Real clients behind proxies, which lose, repeat and hold their writes as a seed says. */
export class ProxiedNetwork implements Network {
  readonly #links: readonly ProxyLink[];

  constructor(links: readonly ProxyLink[], random: () => number) {
    this.#links = links;
    for (const { proxy } of links) {
      injectRandomFaults(proxy, random, { ...FAULTS, only: ({ kind }) => kind === "write" });
    }
  }

  connect(_store: unknown, process: number): Link {
    const { counts } = (this.#links[process] as ProxyLink).proxy;
    return {
      get faults() {
        return counts.hold + counts["drop-response"] + counts.repeat + counts.delay;
      },
      get copies() {
        return this.faults;
      },
    };
  }

  async calm(): Promise<void> {
    for (const { proxy } of this.#links) {
      proxy.intercept();
      await proxy.release();
      await proxy.drained();
    }
  }
}
