// As in start-engines.ts, and the same module: it knows which engines it started.
const { stopAll } = require("../../scripts/engines.mjs");

export default async function stopEngines(): Promise<void> {
  const stopped: string[] = await stopAll();
  // Watching, jest runs the setup again in this process, which must not take these for running ones.
  for (const variable of ["ETCD_ENDPOINTS", "DYNAMODB_ENDPOINT", "DYNALITE_ENDPOINT", "REDIS_URL"]) {
    if (stopped.includes(process.env[variable] ?? "")) delete process.env[variable];
  }
}
