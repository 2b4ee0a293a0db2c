import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Stage } from "../../../lib/migrate.js";

/** The stores that a site's processes use: the arguments of migrating-app.cjs. */
export interface SiteStores {
  from: { kind: string; [setting: string]: unknown };
  /** A store URL. */
  to: string;
}

interface Instance {
  readonly child: ChildProcess;
  readonly address: string;
  readonly stage: Stage;
}

/** A site of two processes, which each deployment replaces one after the other. */
export class RollingSite {
  readonly #stores: SiteStores;
  readonly #draining = new Set<Promise<unknown>>();
  #instances: Instance[] = [];

  constructor(stores: SiteStores) {
    this.#stores = stores;
  }

  async start(stage: Stage): Promise<void> {
    this.#instances = await Promise.all([this.#launch(stage), this.#launch(stage)]);
  }

  /** The addresses of the two processes. */
  get addresses(): string[] {
    return this.#instances.map(({ address }) => address);
  }

  get stages(): Stage[] {
    return this.#instances.map(({ stage }) => stage);
  }

  /** Replaces a process by one at another stage. The old process still responds to its requests in flight. */
  async replace(index: 0 | 1, stage: Stage): Promise<void> {
    const next = await this.#launch(stage);
    const { child } = this.#instances[index] as Instance;
    this.#instances[index] = next;
    const ended = once(child, "exit");
    this.#draining.add(ended);
    // A client that has just chosen the old process connects to it first.
    await sleep(100);
    child.send("drain");
  }

  async copyBack(): Promise<void> {
    const { child } = this.#instances[0] as Instance;
    const answered = once(child, "message");
    child.send("copyBack");
    await answered;
  }

  async drained(): Promise<void> {
    await Promise.all(this.#draining);
  }

  async stop(): Promise<void> {
    for (const { child } of this.#instances) child.kill("SIGKILL");
    await Promise.all(
      this.#instances.map(({ child }) => child.exitCode ?? child.signalCode ?? once(child, "exit")),
    );
  }

  async #launch(stage: Stage): Promise<Instance> {
    const settings = JSON.stringify({ ...this.#stores, stage });
    const child = fork(join(__dirname, "migrating-app.cjs"), [settings], {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    let complaints = "";
    child.stderr?.setEncoding("utf8").on("data", text => {
      complaints += text;
    });
    const ended = once(child, "exit").then(() => {
      throw new Error(`The application has ended: ${complaints}`);
    });
    ended.catch(() => {});
    const [{ port }] = (await Promise.race([once(child, "message"), ended])) as [{ port: number }];
    return { child, address: `http://127.0.0.1:${port}`, stage };
  }
}
