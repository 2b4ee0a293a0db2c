// As in start-engines.ts, and the same module, because it has the list of the engines that it started.
const { stopAll } = require("../../../scripts/engines.mjs");

export default async function stopEngines(): Promise<void> {
  const stopped: string[] = await stopAll();
  // In watch mode, jest runs the setup again in this process, which must not treat stopped engines as running.
  const variables = ["ETCD_ENDPOINTS", "DYNAMODB_ENDPOINT", "DYNALITE_ENDPOINT", "REDIS_URL", "POSTGRES_URL"];
  for (const variable of variables) {
    if (stopped.includes(process.env[variable] ?? "")) delete process.env[variable];
  }
}
