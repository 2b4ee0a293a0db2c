import cluster, { type Worker } from "node:cluster";
import { once } from "node:events";
import { join } from "node:path";
import { Browser, Gate } from "../apps/app.js";

interface Ports {
  shared: number;
  own: number;
}

/** Processes of Node.js's cluster module that serve one application over one session file. See cluster-worker.cjs. */
export class WorkerCluster {
  readonly workers: Worker[];
  readonly #ports: Ports[];
  /** The number of requests that a gate still waits for. */
  readonly #expected = new Map<string, { missing: number; gate: Gate }>();

  private constructor(workers: Worker[], ports: Ports[]) {
    this.workers = workers;
    this.#ports = ports;
    for (const worker of workers) worker.on("message", ({ reached }) => this.#arrive(reached));
  }

  static async start(count: number, path: string): Promise<WorkerCluster> {
    cluster.setupPrimary({ exec: join(__dirname, "cluster-worker.cjs"), args: [path], execArgv: [] });
    const workers = Array.from({ length: count }, () => cluster.fork());
    try {
      return new WorkerCluster(workers, await Promise.all(workers.map(portsOf)));
    } catch (error) {
      for (const worker of workers) worker.process.kill("SIGKILL");
      throw error;
    }
  }

  /** A browser whose requests go to the workers in turn. */
  browser(cookie?: string): Browser {
    return new Browser(addressOf(this.#ports[0]?.shared), cookie);
  }

  /** A browser whose requests all go to one worker. */
  browserOf(worker: number, cookie?: string): Browser {
    return new Browser(addressOf(this.#ports[worker % this.#ports.length]?.own), cookie);
  }

  /** Waits until `count` requests are held at a gate, in any of the processes. */
  async reached(name: string, count: number): Promise<void> {
    const gate = new Gate();
    this.#expected.set(name, { missing: count, gate });
    await gate.reached;
  }

  /** Lets the requests at a gate continue. */
  open(name: string): void {
    for (const worker of this.workers) worker.send({ open: name });
  }

  /** Ends the workers as the end of their primary would. */
  async stop(): Promise<void> {
    const running = this.workers.filter(worker => !worker.isDead());
    const exits = running.map(worker => once(worker, "exit"));
    for (const worker of running) worker.process.disconnect();
    await Promise.all(exits);
  }

  #arrive(name: string): void {
    const expected = this.#expected.get(name);
    if (expected === undefined) return;
    expected.missing -= 1;
    if (expected.missing === 0) void expected.gate.pass();
  }
}

/** Returns the ports that a worker reports when it listens. */
async function portsOf(worker: Worker): Promise<Ports> {
  const ended = once(worker, "exit").then(([code]) => {
    throw new Error(`A worker ended with ${code}: has the package been built?`);
  });
  // The worker always ends later, so this rejection must not count as unhandled.
  ended.catch(() => {});
  const [ports] = await Promise.race([once(worker, "message"), ended]);
  return ports;
}

function addressOf(port: number | undefined): string {
  return `http://127.0.0.1:${port}`;
}
