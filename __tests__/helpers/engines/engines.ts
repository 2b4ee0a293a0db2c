import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { Etcd3 } from "etcd3";

const script = pathToFileURL(join(__dirname, "../../../scripts/engines.mjs")).href;

function endpoint(variable: string): string {
  const value = process.env[variable];
  if (!value) throw new Error(`${variable} is unset: jest's global setup sets it`);
  return value;
}

/** The path of the browser. */
export function chromiumPath(): string {
  return endpoint("CHROMIUM_PATH");
}

/** The endpoints of the etcd that all tests share. */
export function etcdEndpoints(): string[] {
  return endpoint("ETCD_ENDPOINTS").split(",");
}

/** A client of the etcd that all tests share. The caller closes it. */
export function etcdClient(): Etcd3 {
  return new Etcd3({ hosts: etcdEndpoints() });
}

function dynamodb(variable: string): DynamoDBClient {
  return new DynamoDBClient({
    endpoint: endpoint(variable),
    region: "us-east-1",
    credentials: { accessKeyId: "local", secretAccessKey: "local" },
  });
}

/** A client of the DynamoDB Local that all tests share. The caller destroys it. */
export function dynamodbClient(): DynamoDBClient {
  return dynamodb("DYNAMODB_ENDPOINT");
}

/** A client of the dynalite that all tests share. The caller destroys it. */
export function dynaliteClient(): DynamoDBClient {
  return dynamodb("DYNALITE_ENDPOINT");
}

/** Returns ports that are free now, chosen as in scripts/engines.mjs. */
export async function freePorts(count: number): Promise<number[]> {
  const code = `
    import { freePort } from ${JSON.stringify(script)};
    const ports = new Set();
    while (ports.size < ${count}) ports.add(await freePort());
    console.log(JSON.stringify([...ports]));
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", code]);
  return JSON.parse(stdout);
}

interface EtcdOptions {
  name?: string;
  dataDir?: string;
  clientPort?: number;
  peerPort?: number;
  initialCluster?: string;
}

export interface OwnEtcd {
  endpoint: string;
  /** The id of the etcd process itself, for `process.kill(pid, "SIGSTOP")` and other signals. */
  pid: number;
  stop(): Promise<void>;
}

/**
 * A separate etcd that a test may stop, freeze or kill. The options are those of `startEtcd` in scripts/engines.mjs. A
 * test cannot import an ES module and gets no "exit" event, so a process in between starts the etcd. That process stops
 * etcd when its stdin closes, however the test ends.
 */
export async function startEtcd(options: EtcdOptions = {}): Promise<OwnEtcd> {
  const code = `
    import { startEtcd, stopAll } from ${JSON.stringify(script)};
    process.stdin.on("end", () => stopAll().then(() => process.exit())).resume();
    const { endpoint, process: { pid } } = await startEtcd(${JSON.stringify(options)});
    console.log(JSON.stringify({ endpoint, pid }));
  `;
  const starter = spawn(process.execPath, ["--input-type=module", "--eval", code], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  const exited = once(starter, "exit");
  let errors = "";
  starter.stderr.on("data", chunk => {
    errors += chunk;
  });
  const [line] = await Promise.race([once(starter.stdout, "data"), once(starter, "close").then(() => [])]);
  if (!line) throw new Error(errors);
  return {
    ...JSON.parse(String(line)),
    stop: async () => {
      starter.stdin.end();
      await exited;
    },
  };
}
