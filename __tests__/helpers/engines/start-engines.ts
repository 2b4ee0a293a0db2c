// Node.js can require() an ES module unless it awaits at its top level, and jest's transform makes a require() of every
// import. With an import, TypeScript would require the types of a JavaScript file.
const {
  findChromium,
  startEtcd,
  startDynalite,
  startDynamoDBLocal,
  startPostgres,
  startRedis,
  stopAll,
} = require("../../../scripts/engines.mjs");

/** Starts the engines that all tests share, except those that the environment names as already running. */
export default async function startEngines(): Promise<void> {
  // The AWS SDK warns in each process that it will drop support for Node.js 20, which this package keeps.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = "true";
  const engines = [
    ["ETCD_ENDPOINTS", startEtcd],
    ["DYNAMODB_ENDPOINT", startDynamoDBLocal],
    ["DYNALITE_ENDPOINT", startDynalite],
    ["REDIS_URL", startRedis],
    ["POSTGRES_URL", startPostgres],
    ["CHROMIUM_PATH", findChromium],
  ] as const;
  const started = await Promise.allSettled(
    engines.map(async ([variable, start]) => {
      // jest's workers inherit the environment.
      process.env[variable] ||= (await start()).endpoint;
    }),
  );
  const failed = started.find(result => result.status === "rejected");
  if (failed) {
    await stopAll();
    throw failed.reason;
  }
}
