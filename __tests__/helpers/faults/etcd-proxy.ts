import { dirname, join } from "node:path";
import { promisify } from "node:util";
import {
  Client,
  credentials,
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { FaultProxy } from "./fault-proxy.js";

const proto = join(dirname(require.resolve("etcd3")), "../proto/rpc.proto");
const definitions = loadSync(proto, { keepCase: true });
const services = ["KV", "Lease"].map(name => definitions[`etcdserverpb.${name}`] as ServiceDefinition);

const READS = new Set(["Range", "LeaseTimeToLive", "LeaseLeases"]);
/** Removes gRPC's limits, so that tests see those of etcd. */
const NO_LIMITS = { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 };
const asIs = (bytes: Buffer) => bytes;

/**
 * A proxy in front of one member of etcd. Calls stay separate although HTTP/2 carries all of them on one connection.
 */
export class EtcdProxy extends FaultProxy {
  readonly #server = new Server(NO_LIMITS);
  #client: Client | undefined;

  override async start(target: string): Promise<string> {
    const client = new Client(new URL(target).host, credentials.createInsecure(), NO_LIMITS);
    this.#client = client;
    for (const service of services) this.#serve(service, client);
    const bind = promisify(this.#server.bindAsync.bind(this.#server));
    const port = await bind("127.0.0.1:0", ServerCredentials.createInsecure());
    return `http://127.0.0.1:${port}`;
  }

  override async close(): Promise<void> {
    this.#server.forceShutdown();
    this.#client?.close();
  }

  /** Serves the unary calls of a service. */
  #serve(service: ServiceDefinition, client: Client): void {
    const unary = Object.entries(service).filter(([, method]) => !method.responseStream);
    const codec = {
      requestSerialize: asIs,
      requestDeserialize: asIs,
      responseSerialize: asIs,
      responseDeserialize: asIs,
    };
    const methods = unary.map(([name, method]) => [name, { ...method, ...codec }]);
    const handlers: UntypedServiceImplementation = {};
    for (const [name, { path, requestDeserialize }] of unary) {
      const handler: handleUnaryCall<Buffer, Buffer> = ({ request: body, metadata }, callback) => {
        const onlyReads =
          READS.has(name) || (name === "Txn" && !writes(requestDeserialize(body) as Transaction));
        const token = new Metadata();
        for (const value of metadata.get("token")) token.add("token", value);
        void this.handle(
          { kind: onlyReads ? "read" : "write", name, body },
          {
            // The deadline applies only to the client. A request in flight stays in flight.
            deliver: () =>
              new Promise(resolve => {
                client.makeUnaryRequest(path, asIs, asIs, body, token, (error, value) => {
                  resolve([error, value]);
                });
              }),
            respond: answer => callback(...(answer as Parameters<typeof callback>)),
            reset: () => callback({ code: status.UNAVAILABLE, details: "Connection dropped" }),
          },
        );
      };
      handlers[name] = handler;
    }
    this.#server.addService(Object.fromEntries(methods), handlers);
  }
}

interface Transaction {
  success?: TransactionStep[];
  failure?: TransactionStep[];
}
interface TransactionStep {
  request_put?: object;
  request_delete_range?: object;
  request_txn?: Transaction;
}

function writes({ success = [], failure = [] }: Transaction): boolean {
  return [...success, ...failure].some(
    ({ request_put, request_delete_range, request_txn }) =>
      request_put || request_delete_range || (request_txn && writes(request_txn)),
  );
}
