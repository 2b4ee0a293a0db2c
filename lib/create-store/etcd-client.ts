import { readFile } from "node:fs/promises";
import type { Etcd3, IOptions } from "etcd3";
import { peerError } from "../support/optional-peer.js";

/** The names of files, by the parameters that have them. */
export interface TlsFiles {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

/** How to reach a cluster. */
export interface EtcdConnection {
  readonly hosts: string[];
  readonly auth: { readonly username: string; readonly password: string } | undefined;
  readonly files: TlsFiles;
}

/** etcd3 signs in at one host after the other, and without a deadline it waits forever for one that hangs. */
const SIGN_IN_MS = 1000;

/** A client that is created by its first request, since its certificates are files. */
export class LazyEtcdClient {
  readonly kv = lazyService(async () => (await this.#open()).kv);
  readonly leaseClient = lazyService(async () => (await this.#open()).leaseClient);
  /** For the command line. */
  readonly maintenance = lazyService(async () => (await this.#open()).maintenance);
  readonly #etcd3 = loadEtcd3();
  readonly #connection: EtcdConnection;
  #opening: Promise<Etcd3> | undefined;
  #isClosed = false;

  /** @throws Error if etcd3 is not installed */
  constructor(connection: EtcdConnection) {
    this.#connection = connection;
  }

  /** For the command line: where the cluster is, without who signs in. */
  get place(): Pick<EtcdConnection, "hosts" | "files"> {
    const { hosts, files } = this.#connection;
    return { hosts, files };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const client = await this.#opening?.catch(() => undefined);
    client?.close();
  }

  #open(): Promise<Etcd3> {
    this.#opening ??= this.#create().catch(error => {
      // The next request tries again.
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #create(): Promise<Etcd3> {
    // A request may be sent again after its store was closed, since its caller has timed out.
    if (this.#isClosed) throw new Error("The client is closed");
    const { hosts, auth, files } = this.#connection;
    const options: IOptions = { hosts };
    if (auth !== undefined) {
      options.auth = { ...auth, callOptions: () => ({ deadline: Date.now() + SIGN_IN_MS }) };
    }
    const credentials = {
      rootCertificate: await contentOf("ca", files.ca),
      certChain: await contentOf("cert", files.cert),
      privateKey: await contentOf("key", files.key),
    };
    // A missing root certificate means the usual ones, which the types of etcd3 do not say.
    if (Object.values(files).some(file => file !== undefined)) {
      options.credentials = credentials as NonNullable<IOptions["credentials"]>;
    }
    return new this.#etcd3.Etcd3(options);
  }
}

async function contentOf(parameter: string, file: string | undefined): Promise<Buffer | undefined> {
  if (file === undefined) return undefined;
  return await readFile(file).catch(cause => {
    throw new Error(`The file that the parameter \`${parameter}\` names cannot be read`, { cause });
  });
}

/** A service whose methods wait for it to be there. */
function lazyService<Service extends object>(open: () => Promise<Service>): Service {
  const call = (name: keyof Service) => {
    return async (...args: unknown[]) => {
      const service = await open();
      return await (service[name] as (...args: unknown[]) => unknown).apply(service, args);
    };
  };
  return new Proxy({} as Service, { get: (_target, name) => call(name as keyof Service) });
}

function loadEtcd3(): typeof import("etcd3") {
  try {
    return require("etcd3");
  } catch (error) {
    throw peerError(error, "etcd3", "etcd");
  }
}
