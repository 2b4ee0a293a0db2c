import { LazyEtcdClient, type TlsFiles } from "./etcd-client.js";
import { parseHosts } from "./etcd-hosts.js";
import { combine, number, type Options, type Reader, type Readers } from "./parameters.js";
import type { Scheme } from "./scheme.js";
import { secretOf } from "./secrets.js";
import { type StoreUrl, wrongUrl } from "./store-url.js";

const fileName: Reader<string> = (value, name) => {
  // The value is not shown: it may be the key itself.
  if (value !== "" && !value.includes("-----") && !value.includes("\0")) return value;
  throw new TypeError(`Expected \`${name}\` to be the name of a PEM file`);
};

const clearReaders: Readers = { password: (value, name) => secretOf(value, name), cleanupInterval: number };
const tlsReaders: Readers = { ca: fileName, cert: fileName, key: fileName };

/** `etcd://user:password@h1:2379,h2:2379/prefix` */
export const etcd: Scheme = {
  example: "etcd://user:password@host1:2379,host2:2379/prefix",
  parameters: clearReaders,
  open: (url, values, options) => open("http", url, values, options),
};

/** `etcds://user:password@h1:2379,h2:2379/prefix?ca=ca.crt` */
export const etcds: Scheme = {
  example: "etcds://user:password@host1:2379,host2:2379/prefix?ca=ca.crt",
  parameters: { ...clearReaders, ...tlsReaders },
  open: (url, values, options) => open("https", url, values, options),
};

function open(
  protocol: string,
  url: StoreUrl,
  { ca, cert, key, password, ...values }: Options,
  options: Parameters<Scheme["open"]>[2],
): ReturnType<Scheme["open"]> {
  const { scheme, authority, path } = url;
  if (!authority) throw wrongUrl(scheme, `names no host: expected \`${scheme}://host:2379/prefix\``);
  const { hosts, ...user } = parseHosts(scheme, authority);
  const files = { ca, cert, key } as TlsFiles;
  if ((files.cert === undefined) !== (files.key === undefined)) {
    throw wrongUrl(scheme, "has only one of `cert` and `key`, which belong together");
  }
  const client = new LazyEtcdClient({
    hosts: hosts.map(host => `${protocol}://${host}`),
    auth: authOf(scheme, user.username, user.password, password as string | undefined),
    files,
  });
  const prefix = path.slice(1) || undefined;
  if (prefix !== undefined && values.prefix !== undefined) {
    throw wrongUrl(scheme, "has a prefix as its path and as a parameter: leave out one of them");
  }
  const { EtcdStore: Base } = require("../etcd.js") as typeof import("../etcd.js");
  // It has the name of its base, which errors and diagnostics show.
  const OwningStore = class EtcdStore extends Base {
    protected override async _close(): Promise<void> {
      await super._close();
      await client.close();
    }
  };
  return new OwningStore(combine({ ...values, ...(prefix !== undefined && { prefix }), client }, options));
}

function authOf(
  scheme: string,
  username: string | undefined,
  inUrl: string | undefined,
  inVariable: string | undefined,
) {
  if (inUrl !== undefined && inVariable !== undefined) {
    throw wrongUrl(scheme, "has a password twice: before the `@` and as a parameter");
  }
  const password = inUrl ?? inVariable;
  if (username === undefined && password === undefined) return undefined;
  if (username !== undefined && password !== undefined) return { username, password };
  throw wrongUrl(
    scheme,
    username === undefined
      ? "has a password but no user: expected `user@` before the hosts"
      : "has a user without a password: expected `user:password@`, or `user@` and `password=env:NAME`",
  );
}
