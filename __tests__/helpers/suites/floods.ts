import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DeleteTableCommand } from "@aws-sdk/client-dynamodb";
import { DynamoDBStore } from "../../../lib/dynamodb/store.js";
import { dynaliteClient, etcdEndpoints } from "../engines/engines.js";
import { figure } from "../measures/figures.js";
import { AppProcess, type StoreChoice } from "../outages/app-process.js";
import { Gateway, openDynamoDB, openEtcd, type RemoteSystem, temporaryFolder } from "../outages/outages.js";

const timeoutMs = 100;
/** For everything except waiting. */
const MARGIN_MS = 200;
const REQUESTS_AT_ONCE = 100;
/** Before this point, the caches of V8, the clients and express-session fill up. */
const WARM_UP = 0.5;
const RECOVERY_MS = 20_000;

/**
 * The most memory that a request may leave behind: far less than a session, a promise with its reactions, or a timer.
 */
const MAX_BYTES_PER_REQUEST = 100;
/** The noise of a measurement: caches, and connections in the client's pool. */
const MAX_BYTES = 3 * 1024 * 1024;
const MAX_CONNECTIONS = 50;

const MAX_BYTES_PER_READ = 8 * 1024;

interface Measured {
  bytes: number;
  resources: string[];
  slowestMs: number;
  heldUpMs: number;
}

interface Burst {
  wrong: number;
  errors: Record<string, number>;
  ms: number;
  grownBytes: number;
}

interface Scale {
  /** Requests while the backend rejects connections, and requests while it accepts them but never responds. */
  refused: number;
  hanging: number;
  /** The reads of a burst. */
  atOnce: number;
}

/** Many requests: during an outage, and in a burst. */
export function describeFloods({ refused, hanging, atOnce }: Scale): void {
  const outages: [string, number, () => Promise<RemoteSystem>][] = [
    ["etcd is stopped", refused, () => openEtcd("stopped")],
    ["etcd is frozen", hanging, () => openEtcd("frozen")],
    ["DynamoDB refuses connections", refused, () => openDynamoDB("refusing")],
    ["DynamoDB never answers", hanging, () => openDynamoDB("silent")],
  ];

  describe.each(outages)("an application while %s", (name, count, open) => {
    let system: RemoteSystem;
    let app: AppProcess;
    let cookie: string;

    beforeAll(async () => {
      system = await open();
      app = await AppProcess.start({ ...system.choice, timeoutMs });
      cookie = await app.signIn("ada");
      await system.fail();
    });
    afterAll(async () => {
      await app.stop();
      await system.close();
    });

    it(
      `answers ${count} requests with an error, in time, and keeps nothing of them`,
      async () => {
        const calls = ["GET /", "POST /sign-in?user=bob"];
        await app.flood(calls, count * WARM_UP, REQUESTS_AT_ONCE, cookie);
        const before = await app.do<Measured>("measure");
        const answers = await app.flood(calls, count, REQUESTS_AT_ONCE, cookie);
        const { slowestMs, heldUpMs, ...after } = await app.do<Measured>("measure");
        const grown = after.bytes - before.bytes;
        figure(
          `${name}: ${count} requests, slowest ${Math.round(slowestMs)} ms with a time limit of ${timeoutMs} ms, heap ` +
            `${Math.round(before.bytes / 1024)} KB before, ${Math.round(grown / 1024)} KB more after, resources ` +
            `${before.resources.length} and ${after.resources.length}`,
        );
        for (const answer of answers) {
          expect(answer).toMatch(/^503 "ERR_STORE_(UNAVAILABLE|TIMEOUT)"$/);
        }
        expect(slowestMs).toBeLessThan(timeoutMs + heldUpMs + MARGIN_MS);
        expect(grown).toBeLessThan(MAX_BYTES + count * MAX_BYTES_PER_REQUEST);
        expect(after.resources.length).toBeLessThanOrEqual(before.resources.length + MAX_CONNECTIONS);
      },
      30_000 + count * 20,
    );

    it("serves users who were signed in before, when that is over", async () => {
      await system.recover();
      const start = performance.now();
      while ((await app.get(cookie)) !== '200 "ada"') {
        if (performance.now() - start > RECOVERY_MS) throw new Error("It did not recover");
        await sleep(20);
      }
      figure(`${name}: recovered after ${Math.round(performance.now() - start)} ms`);
    });
  });

  describe(`${atOnce} reads at once`, () => {
    const backends: [StoreChoice["kind"], () => Promise<{ choice: StoreChoice; close(): Promise<void> }>][] =
      [
        ["memory", async () => ({ choice: { kind: "memory" }, close: async () => {} })],
        ["file", openFile],
        ["dynamodb", openDynalite],
        [
          "etcd",
          async () => ({
            choice: { kind: "etcd", endpoint: String(etcdEndpoints()[0]) },
            close: async () => {},
          }),
        ],
      ];

    it.each(backends)(
      "of sessions in %s are all right, with few connections and little memory",
      async (kind, open) => {
        const { choice, close } = await open();
        const gateway = choice.endpoint === undefined ? undefined : new Gateway(choice.endpoint);
        await gateway?.listen();
        const app = await AppProcess.start({ ...choice, ...(gateway && { endpoint: gateway.endpoint }) });
        const { wrong, errors, ms, grownBytes } = await app.do<Burst>("burst", { count: atOnce });
        await app.stop();
        await gateway?.stop();
        await close();
        figure(
          `${atOnce} reads at once, ${kind}: ${Math.round(ms)} ms, ${gateway?.most ?? 0} connections, ` +
            `${Math.round(grownBytes / 2 ** 20)} MB`,
        );
        expect({ wrong, errors }).toEqual({ wrong: 0, errors: {} });
        expect(gateway?.most ?? 0).toBeLessThanOrEqual(MAX_CONNECTIONS);
        expect(grownBytes).toBeLessThan(atOnce * MAX_BYTES_PER_READ);
      },
      30_000,
    );
  });
}

async function openFile() {
  const folder = await temporaryFolder();
  const choice: StoreChoice = { kind: "file", path: join(folder, "sessions.lmdb") };
  return { choice, close: () => rm(folder, { recursive: true }) };
}

async function openDynalite() {
  const client = dynaliteClient();
  const tableName = `test-${randomUUID()}`;
  const creator = new DynamoDBStore({ client, tableName });
  await creator.createTable();
  await creator.close();
  const choice: StoreChoice = {
    kind: "dynamodb",
    endpoint: String(process.env.DYNALITE_ENDPOINT),
    tableName,
  };
  return {
    choice,
    async close() {
      await client.send(new DeleteTableCommand({ TableName: tableName }));
      client.destroy();
    },
  };
}
