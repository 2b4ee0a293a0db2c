// The only file that depends on the choice of the store. Another store changes nothing else in the application.

const { join } = require("node:path");
const { createStore } = require("express-session-stores");
const { userOf } = require("./users.js");

// The options, which are the same for every store.
const options = {
  // The seconds after sign-in at which a session ends, even if it is in use.
  absoluteTimeout: 12 * 60 * 60,
  // Lets the store find, change and end the sessions of a user.
  user: userOf,
};

// The URLs of the short names, for a first try. A deployment sets SESSION_STORE to its own URL.
const shortNames = {
  memory: () => "memory:",

  file: dataDir => `file:${encodeURIComponent(join(dataDir, "sessions.lmdb"))}`,

  dynamodb() {
    const endpoint = process.env.DYNAMODB_ENDPOINT || "http://127.0.0.1:8000";
    // Region and credentials come from where the AWS tools find them.
    if (endpoint.toUpperCase() === "AWS") return "dynamodb:///sessions";
    return `dynamodb://us-east-1/sessions?endpoint=${encodeURIComponent(endpoint)}`;
  },

  etcd() {
    const endpoints = (process.env.ETCD_ENDPOINTS || "http://127.0.0.1:2379").split(",");
    const scheme = endpoints[0].trim().startsWith("https:") ? "etcds" : "etcd";
    return `${scheme}://${endpoints.map(endpoint => endpoint.trim().replace(/^https?:\/\//, "")).join(",")}`;
  },
};

// Advice for an engine that cannot be reached, by the scheme of the URL.
const hints = {
  dynamodb: `Check the region, the AWS credentials, and that the table is there. For a local DynamoDB run
\`npm run engine:dynamodb\` in another terminal, or set DYNAMODB_ENDPOINT to one that runs (AWS means the real one).`,
  etcd: `Check the hosts. For a local etcd run \`npm run engine:etcd\` in another terminal, or set ETCD_ENDPOINTS to one that
runs.`,
};

/**
 * Opens the store of a setting: a short name, or a URL that `createStore` accepts. The first call of the store
 * connects, not this function. Returns the `store`, how to `close` it, and what may have to be prepared. Also returns
 * the `scheme` of its URL, which unlike the URL has no password.
 */
function openStore(setting, dataDir) {
  if (/^\w+$/.test(setting) && !Object.hasOwn(shortNames, setting)) {
    throw new Error(
      `SESSION_STORE is "${setting}": expected ${Object.keys(shortNames).join(", ")} or a URL such as file:./data/sessions.lmdb.`,
    );
  }
  const url = Object.hasOwn(shortNames, setting) ? shortNames[setting](dataDir) : setting;
  const isLocalDynamoDB = /^dynamodb:.*[?&]endpoint=/i.test(url);
  if (isLocalDynamoDB && !process.env.AWS_ACCESS_KEY_ID && !process.env.AWS_PROFILE) {
    // A local engine requires credentials, but accepts any.
    Object.assign(process.env, { AWS_ACCESS_KEY_ID: "local", AWS_SECRET_ACCESS_KEY: "local" });
  }
  const scheme = url.slice(0, url.indexOf(":")).toLowerCase();
  const { store, close } = openUrl(url, scheme);
  return {
    store,
    close,
    scheme,
    // Good enough for an example, since it does nothing if the table exists. An application should not need this
    // permission.
    prepare: isLocalDynamoDB ? () => store.createTable() : undefined,
    hint: hints[scheme.replace("etcds", "etcd")],
  };
}

/** Returns the `store` of a URL, and `close`, which also closes its client. */
function openUrl(url, scheme) {
  // Loads etcd3 only if it is used.
  const opened = scheme === "etcd" && require("./etcd-store.js").openEtcd(url, options);
  if (opened) return opened;
  const store = createStore(url, options);
  return { store, close: () => store.close() };
}

module.exports = { openStore, options };
