import { StoreError } from "../errors.js";
import { errorName } from "./errors.js";
import { sdk } from "./sdk.js";
import type { Table } from "./table.js";

/** How long to wait for a new table, and how often to ask for it. Seconds. */
const WAIT = { maxWaitTime: 300, minDelay: 1, maxDelay: 5 };

/**
 * Creates a table if it does not exist, waits until it is active, and enables TTL. Several processes may do so together.
 *
 * @throws StoreError if a request is rejected; `ERR_STORE_TABLE_MISMATCH` if the table has another key or TTL attribute
 */
export async function createTable(table: Table, signal: AbortSignal | undefined): Promise<void> {
  // The types of the SDK want a signal, the SDK does not.
  const options = { abortSignal: signal as AbortSignal };
  try {
    await ensureTable(table, options);
    await ensureTtl(table, options);
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof StoreError) throw error;
    throw unavailable(`The table "${table.name}" could not be created; see \`cause\`.`, error);
  }
}

async function ensureTable(table: Table, options: { abortSignal: AbortSignal }): Promise<void> {
  const { name: TableName, client } = table;
  const { id } = table.attributes;
  const create = new sdk.CreateTableCommand({
    TableName,
    BillingMode: "PAY_PER_REQUEST",
    AttributeDefinitions: [{ AttributeName: id, AttributeType: "S" }],
    KeySchema: [{ AttributeName: id, KeyType: "HASH" }],
  });
  await client.send(create, options).catch(error => {
    if (errorName(error) !== "ResourceInUseException") throw error;
  });
  await sdk.waitUntilTableExists({ client, ...WAIT, ...options }, { TableName });
  const { Table: found } = await client.send(new sdk.DescribeTableCommand({ TableName }), options);
  const keys = found?.KeySchema?.map(key => key.AttributeName) ?? [];
  const type = found?.AttributeDefinitions?.find(({ AttributeName }) => AttributeName === id)?.AttributeType;
  if (keys.length !== 1 || keys[0] !== id || type !== "S") throw table.wrongKey(`the key ${keys.join(", ")}`);
}

async function ensureTtl(table: Table, options: { abortSignal: AbortSignal }): Promise<void> {
  const { name: TableName, client } = table;
  const { ttl } = table.attributes;
  const enable = new sdk.UpdateTimeToLiveCommand({
    TableName,
    TimeToLiveSpecification: { AttributeName: ttl, Enabled: true },
  });
  const error = await client.send(enable, options).then(
    () => undefined,
    refused => refused,
  );
  // dynalite has no TTL at all.
  if (error === undefined || errorName(error) === "UnknownOperationException") return;
  // The table may have TTL already, or another process may be enabling it now.
  const describe = new sdk.DescribeTimeToLiveCommand({ TableName });
  const { TimeToLiveDescription } = await client.send(describe, options);
  const { AttributeName, TimeToLiveStatus } = TimeToLiveDescription ?? {};
  if (!TimeToLiveStatus?.startsWith("ENABL")) {
    throw unavailable(
      `TTL could not be enabled on "${ttl}" of the table "${TableName}", so that ended sessions would stay in it; see \`cause\`. Its status is ${TimeToLiveStatus}.`,
      error,
    );
  }
  if (AttributeName !== ttl) {
    throw new StoreError(
      "ERR_STORE_TABLE_MISMATCH",
      `The table "${TableName}" has TTL on "${AttributeName}", but the store writes "${ttl}", in epoch seconds: choose another table, or set the option \`attributes.ttl\`.`,
    );
  }
}

function unavailable(message: string, cause?: unknown): StoreError {
  return new StoreError("ERR_STORE_UNAVAILABLE", message, { cause });
}
