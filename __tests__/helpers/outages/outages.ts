import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DeleteTableCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { Etcd3, type IOptions } from "etcd3";
import { DynamoDBStore } from "../../../lib/dynamodb/store.js";
import { EtcdStore } from "../../../lib/etcd/store.js";
import type { AbstractStore, StoreOptions } from "../../../lib/index.js";
import { dynamodbClient, type OwnEtcd, startEtcd } from "../engines/engines.js";
import type { StoreChoice } from "./app-process.js";

/** A backend that tests can make fail. */
export interface System {
  createStore(options: StoreOptions): AbstractStore;
  fail(): Promise<void>;
  recover(): Promise<void>;
  close(): Promise<void>;
}

/** A backend of another process, which other processes can use as well. */
export interface RemoteSystem extends System {
  choice: StoreChoice;
}

export async function temporaryFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "express-session-stores-test-"));
}

/** No retries by etcd3, and no circuit breaker, which would reject every call for 5 s after a few failures. */
const noFaultHandling = { execute: (call: (context: object) => unknown) => call({}) };

export async function openEtcd(how: "stopped" | "frozen"): Promise<RemoteSystem> {
  const dataDir = await temporaryFolder();
  let etcd = await startEtcd({ dataDir });
  const hosts = etcd.endpoint;
  const restart = async () => {
    etcd = await startEtcd({ dataDir, clientPort: Number(new URL(hosts).port) });
  };
  const policy = noFaultHandling as unknown as NonNullable<NonNullable<IOptions["faultHandling"]>["global"]>;
  const client =
    how === "stopped"
      ? new Etcd3({ hosts })
      : new Etcd3({ hosts, faultHandling: { global: policy, host: () => policy } });
  return {
    choice: { kind: "etcd", endpoint: hosts },
    createStore: options => new EtcdStore({ ...options, client }),
    fail: async () => (how === "stopped" ? etcd.stop() : await freeze(etcd)),
    recover: async () => (how === "stopped" ? restart() : void process.kill(etcd.pid, "SIGCONT")),
    async close() {
      client.close();
      await etcd.stop();
      await rm(dataDir, { recursive: true });
    },
  };
}

/** Stops the process, and waits until it no longer responds. On a busy machine that takes a moment. */
async function freeze({ pid, endpoint }: OwnEtcd): Promise<void> {
  process.kill(pid, "SIGSTOP");
  const answers = () => fetch(`${endpoint}/version`, { signal: AbortSignal.timeout(100) });
  while (
    await answers().then(
      () => true,
      () => false,
    )
  );
}

/** A proxy in front of an engine that forwards everything, unless `silent` is set. */
export class Gateway {
  /** If set, accepts connections and requests, but sends no responses. */
  silent = false;
  /** The most connections at the same time. */
  most = 0;
  readonly #target: URL;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  #port = 0;

  constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer(inbound => {
      const outbound = connect(Number(this.#target.port), this.#target.hostname);
      for (const [from, to] of [
        [inbound, outbound],
        [outbound, inbound],
      ] as const) {
        this.#sockets.add(from);
        this.most = Math.max(this.most, this.#sockets.size / 2);
        from.on("data", chunk => this.silent || to.write(chunk));
        from.on("error", () => {});
        from.on("close", () => {
          this.#sockets.delete(from);
          to.destroy();
        });
      }
    });
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async listen(): Promise<void> {
    this.#server.listen(this.#port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as { port: number }).port;
  }

  /** Rejects connections from now on. */
  async stop(): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    if (this.#server.listening) await once(this.#server, "close");
  }
}

export async function openDynamoDB(how: "refusing" | "silent"): Promise<RemoteSystem> {
  const gateway = new Gateway(process.env.DYNAMODB_ENDPOINT ?? "");
  await gateway.listen();
  const direct = dynamodbClient();
  const { region, credentials } = direct.config;
  const client = new DynamoDBClient({ region, credentials, endpoint: gateway.endpoint });
  const tableName = `test-${randomUUID()}`;
  const creator = new DynamoDBStore({ client: direct, tableName });
  await creator.createTable();
  await creator.close();
  const silence = (silent: boolean) => {
    gateway.silent = silent;
  };
  return {
    choice: { kind: "dynamodb", endpoint: gateway.endpoint, tableName },
    createStore: options => new DynamoDBStore({ ...options, client, tableName }),
    fail: async () => (how === "refusing" ? gateway.stop() : silence(true)),
    recover: async () => (how === "refusing" ? gateway.listen() : silence(false)),
    async close() {
      client.destroy();
      await gateway.stop();
      await direct.send(new DeleteTableCommand({ TableName: tableName }));
      direct.destroy();
    },
  };
}
