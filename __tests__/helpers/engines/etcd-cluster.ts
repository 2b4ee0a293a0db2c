import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePorts, type OwnEtcd, startEtcd } from "./engines.js";

const HEALTH_TIMEOUT_MS = 500;
const POLL_MS = 20;

interface Member {
  name: string;
  clientPort: number;
  peerPort: number;
  /** `undefined` while the member is down. */
  etcd: OwnEtcd | undefined;
}

/** Three members of etcd that a test may kill, restart and freeze. */
export class EtcdCluster {
  readonly #folder: string;
  readonly #members: Member[];

  private constructor(folder: string, members: Member[]) {
    this.#folder = folder;
    this.#members = members;
  }

  static async start(): Promise<EtcdCluster> {
    const folder = await mkdtemp(join(tmpdir(), "express-session-stores-test-"));
    const names = ["a", "b", "c"];
    const ports = await freePorts(2 * names.length);
    const members = names.map(name => {
      const [clientPort, peerPort] = ports.splice(0, 2) as [number, number];
      return { name, clientPort, peerPort, etcd: undefined };
    });
    const cluster = new EtcdCluster(folder, members);
    await cluster.startAll();
    return cluster;
  }

  get endpoints(): string[] {
    return this.#members.map(({ clientPort }) => `http://127.0.0.1:${clientPort}`);
  }

  /** Returns the index of the leader. */
  async leader(): Promise<number> {
    for (;;) {
      for (const [index, endpoint] of this.endpoints.entries()) {
        const status = await post(`${endpoint}/v3/maintenance/status`);
        if (status !== undefined && status.leader === status.header.member_id) return index;
      }
      await sleep(POLL_MS);
    }
  }

  /** Waits until the cluster has a leader that all running members follow. */
  async healthy(): Promise<void> {
    const running = this.endpoints.filter((_, index) => this.#members[index]?.etcd !== undefined);
    const isHealthy = async (endpoint: string) => {
      const response = await fetch(`${endpoint}/health`, { signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS) });
      return ((await response.json()) as { health: string }).health === "true";
    };
    while (!(await Promise.all(running.map(isHealthy)).catch(() => [false])).every(Boolean)) {
      await sleep(POLL_MS);
    }
  }

  /** Ends a member like a crash. */
  async kill(index: number): Promise<void> {
    const member = this.#members[index] as Member;
    this.#signal(index, "SIGKILL");
    const etcd = member.etcd;
    member.etcd = undefined;
    await etcd?.stop();
  }

  async killAll(): Promise<void> {
    await Promise.all(this.#members.map((_, index) => this.kill(index)));
  }

  /** Starts a member again, with its data. */
  async start(index: number): Promise<void> {
    const member = this.#members[index] as Member;
    const { name, clientPort, peerPort } = member;
    const initialCluster = this.#members
      .map(other => `${other.name}=http://127.0.0.1:${other.peerPort}`)
      .join(",");
    member.etcd = await startEtcd({
      name,
      clientPort,
      peerPort,
      initialCluster,
      dataDir: join(this.#folder, name),
    });
  }

  async startAll(): Promise<void> {
    await Promise.all(this.#members.map((_, index) => this.start(index)));
  }

  /** Cuts a member off for some time. Its connections stay open, but it sends nothing until it is thawed. */
  async freeze(index: number, ms: number): Promise<void> {
    this.#signal(index, "SIGSTOP");
    await sleep(ms);
  }

  thaw(index: number): void {
    this.#signal(index, "SIGCONT");
  }

  async stop(): Promise<void> {
    await Promise.all(this.#members.map(({ etcd }) => etcd?.stop()));
    await rm(this.#folder, { recursive: true });
  }

  #signal(index: number, signal: NodeJS.Signals): void {
    const pid = this.#members[index]?.etcd?.pid;
    if (pid !== undefined) process.kill(pid, signal);
  }
}

/** The response of etcd's gateway for JSON, if there is one. */
async function post(url: string) {
  try {
    const signal = AbortSignal.timeout(HEALTH_TIMEOUT_MS);
    const response = await fetch(url, { method: "POST", body: "{}", signal });
    return (await response.json()) as { leader: string; header: { member_id: string } };
  } catch {
    return undefined;
  }
}
