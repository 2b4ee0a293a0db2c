// A store on etcd whose client has the circuit breaker that the documents recommend.

const { circuitBreaker, ConsecutiveBreaker, handleWhen } = require("cockatiel");
const { Etcd3, GRPCResourceExhastedError, isRecoverableError } = require("etcd3"); // Spelled so in etcd3.
const { EtcdStore } = require("express-session-stores/etcd");

/** The longest time for signing in at one host. Without a deadline etcd3 waits forever for a host that hangs. */
const SIGN_IN_MS = 1000;

/** `etcd://user:password@h1:2379,h2:2379/prefix`, without parameters. */
const PLAIN_URL = /^etcd:\/\/(?:([^:@/]+):([^:@/]+)@)?([^@/?#]+)(?:\/([^?#]*))?$/i;
const HOST = /^(?:[\w.-]+|\[[\da-f:.]+\])(:\d{1,5})?$/i;

/**
 * Opens the store of a plain etcd URL with its own client, because `createStore` accepts no client. Returns `undefined`
 * for every other URL, which `createStore` then opens or rejects.
 */
function openEtcd(url, options) {
  const [, username, password, list = "", prefix] = PLAIN_URL.exec(url) ?? [];
  const hosts = list.split(",");
  if (/%(?![\da-f]{2})/i.test(url) || !hosts.every(host => HOST.test(host))) return undefined;
  const client = new Etcd3({
    hosts: hosts.map(host => `http://${host}${HOST.exec(host)[1] ? "" : ":2379"}`),
    ...(username !== undefined && {
      auth: {
        username: decodeURIComponent(username),
        password: decodeURIComponent(password),
        callOptions: () => ({ deadline: Date.now() + SIGN_IN_MS }),
      },
    }),
    faultHandling: { host: breaker },
  });
  const store = new EtcdStore({ ...options, client, ...(prefix && { prefix: decodeURIComponent(prefix) }) });
  return {
    store,
    async close() {
      await store.close();
      client.close();
    },
  };
}

/**
 * After three failures in a row, a host gets no requests for 1 s; etcd3's default is 5 s. A response that is too large
 * and a full database do not count as an outage of the host.
 */
function breaker() {
  const isOutage = error => isRecoverableError(error) && !(error instanceof GRPCResourceExhastedError);
  return circuitBreaker(handleWhen(isOutage), { halfOpenAfter: 1000, breaker: new ConsecutiveBreaker(3) });
}

module.exports = { openEtcd };
