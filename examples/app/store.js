// The only file that knows which store it is: changing stores changes nothing else in the application.

const { join } = require("node:path");
const { userOf } = require("./users.js");

// Every store takes the same options.
const options = {
  // Seconds from sign-in after which a session ends however busy it is.
  absoluteTimeout: 12 * 60 * 60,
  // Lets the store find, change and end the sessions of a user.
  user: userOf,
};

// Each returns the `store` and, where there is a client, what has to happen to that: a store closes only what it
// opened itself. `hint` is for when the engine cannot be reached. The packages are loaded only where they are used.
const stores = {
  memory() {
    const { MemoryStore } = require("express-session-stores/memory");
    return { store: new MemoryStore(options) };
  },

  file(dataDir) {
    const { FileStore } = require("express-session-stores/file");
    return { store: new FileStore({ path: join(dataDir, "sessions.lmdb"), ...options }) };
  },

  dynamodb() {
    const { DynamoDBClient } = require("@aws-sdk/client-dynamodb");
    const { DynamoDBStore } = require("express-session-stores/dynamodb");
    const endpoint = process.env.DYNAMODB_ENDPOINT || "http://127.0.0.1:8000";

    // Region and credentials from where the AWS tools take them. The table has to be there: create it with your
    // infrastructure code, as in production.
    if (endpoint.toUpperCase() === "AWS") {
      const client = new DynamoDBClient();
      const store = new DynamoDBStore({ client, ...options });
      const hint = "Check AWS_REGION, the AWS credentials, and that the table is there.";
      return { store, closeClient: () => client.destroy(), hint };
    }

    // A local engine wants a region and credentials, but any will do.
    const credentials = { accessKeyId: "local", secretAccessKey: "local" };
    const client = new DynamoDBClient({ endpoint, region: "us-east-1", credentials });
    const store = new DynamoDBStore({ client, ...options });
    return {
      store,
      // Fine for an example: it does nothing if the table is there. An application should not need the right to do it.
      prepare: () => store.createTable(),
      closeClient: () => client.destroy(),
      hint: `Expected DynamoDB at ${endpoint}. Start a local one with \`npm run engine:dynamodb\` in another terminal, set
DYNAMODB_ENDPOINT to one that runs, or to AWS for the real one.`,
    };
  },

  etcd() {
    const { Etcd3 } = require("etcd3");
    const { EtcdStore } = require("express-session-stores/etcd");
    const hosts = (process.env.ETCD_ENDPOINTS || "http://127.0.0.1:2379").split(",").map(host => host.trim());

    const client = new Etcd3({ hosts });
    const store = new EtcdStore({ client, ...options });
    return {
      store,
      closeClient: () => client.close(),
      hint: `Expected etcd at ${hosts.join(", ")}. Start a local one with \`npm run engine:etcd\` in another terminal, or set
ETCD_ENDPOINTS to one that runs.`,
    };
  },
};

/** The store called `name`. Opens no connection: that happens with the first call of the store. */
function createStore(name, dataDir) {
  if (!Object.hasOwn(stores, name)) {
    throw new Error(`SESSION_STORE is "${name}": expected ${Object.keys(stores).join(", ")}.`);
  }
  return stores[name](dataDir);
}

module.exports = { createStore, options };
