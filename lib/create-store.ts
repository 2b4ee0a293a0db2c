import type { AbstractStore } from "./core/abstract-store.js";
import { invalidArgument } from "./core/options.js";
import type { StoreOptions } from "./core/store-options.js";
import { dynamodb } from "./create-store/dynamodb.js";
import { etcd, etcds } from "./create-store/etcd.js";
import { file } from "./create-store/file.js";
import { memory } from "./create-store/memory.js";
import { readParameters } from "./create-store/parameters.js";
import type { Scheme } from "./create-store/scheme.js";
import { parseStoreUrl } from "./create-store/store-url.js";

const schemes: Record<string, Scheme> = { memory, file, dynamodb, etcd, etcds };

const examples = Object.fromEntries(Object.entries(schemes).map(([name, { example }]) => [name, example]));

/**
 * Creates the store that a URL names, so that one setting chooses it. Loads the modules and the client of this store
 * alone. Does no I/O: the first call of the store connects. `close()` of the store also closes its client.
 *
 * | URL | store |
 * | --- | --- |
 * | `memory:` | `MemoryStore` |
 * | `file:./data/sessions.lmdb` | `FileStore`, from the working directory; absolute: `file:/data/sessions.lmdb` |
 * | `dynamodb://eu-west-1/sessions` | `DynamoDBStore`: region and table (name or ARN; default `sessions`) |
 * | `dynamodb:///sessions` | the same in the region of the AWS environment |
 * | `etcd://user:password@h1:2379,h2/prefix` | `EtcdStore`: hosts (default port 2379) and `prefix` (default `sess:`) |
 * | `etcds://h1/prefix?ca=ca.crt` | the same over TLS |
 *
 * Options are parameters of the URL, with the types and defaults that they have for the constructor. Of every store:
 * `prefix`, `ttl`, `touchAfter`, `absoluteTimeout`, `timeoutMs`, `conflict`, `disableTouch`; `hashIds` (`true`, or
 * `env:NAME` for a secret); `encryption=env:NAME` (keys in base64, separated by commas),
 * `encryption.acceptUnencrypted`; and `maxSessionsPerUser` (`5` or `5:reject`). Memory: `max`, `maxBytes`,
 * `cleanupInterval`. File: `cleanupInterval`. DynamoDB: `endpoint`, `consistentRead`, `compression`, `attributes.ttl`
 * and its like. etcd: `cleanupInterval`, `password=env:NAME`; over TLS the names of PEM files `ca`, `cert` and `key`,
 * which the first call reads.
 *
 * A secret is the name of an environment variable, `env:NAME`, which is read immediately. No error shows a part of the URL
 * that may be a password. Reserved characters are percent-encoded.
 *
 * @param url - such as `process.env.SESSION_STORE`
 * @param options - options that a URL cannot have (`user`, `serializer`, `now`, a function as `ttl`), or does not have
 * @throws TypeError if the URL is missing or empty, its scheme or a parameter is unknown, a value is wrong, a secret is
 *   in the URL, an environment variable is unset or empty, or an option is in both
 * @throws Error if the package of the client is not installed
 *
 * @example
 * const store = createStore(process.env.SESSION_STORE);
 * app.use(session({ store, secret, resave: false, saveUninitialized: false }));
 * @example
 * createStore("memory:?max=10000");
 * @example
 * createStore("file:./data/sessions.lmdb?encryption=env:SESSION_KEY");
 * @example
 * createStore("dynamodb://eu-west-1/sessions?consistentRead=false", { user: session => session.passport?.user });
 * @example
 * createStore("dynamodb://local/sessions?endpoint=http://127.0.0.1:8000");
 * @example
 * createStore("etcd://127.0.0.1/shop:?timeoutMs=2000");
 * @example
 * createStore("etcds://shop@h1:2379,h2:2379,[2001:db8::3]:2379/shop:?password=env:ETCD_PASSWORD&ca=/etc/etcd/ca.crt");
 */
export function createStore(url: string | undefined, options: StoreOptions = {}): AbstractStore {
  const parsed = parseStoreUrl(url, examples);
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw invalidArgument("options", "an object of options for the store", options);
  }
  const scheme = schemes[parsed.scheme] as Scheme;
  return scheme.open(parsed, readParameters(parsed, scheme.parameters), options);
}
