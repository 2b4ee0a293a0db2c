import type { DescribeTableCommandOutput } from "@aws-sdk/client-dynamodb";
import { sdk } from "../../dynamodb/sdk.js";
import { type DynamoDBStore, tableOf } from "../../dynamodb/store.js";
import type { Table } from "../../dynamodb/table.js";
import { describeError } from "../errors.js";
import { formatSize } from "../units.js";
import { type Check, checkClock, ok, problem, unknown, warning } from "./check.js";
import { type Probe, probesOf } from "./dynamodb-permissions.js";

export async function* checkDynamoDB(
  store: DynamoDBStore,
  keepsUsers: boolean,
  signal: AbortSignal,
): AsyncGenerator<Check> {
  const table = tableOf(store);
  yield ok("region", await table.client.config.region());
  yield* checkTable(table, signal);
  yield await checkTtl(table, signal);
  yield* checkPermissions(probesOf(table, `${store.prefix}%doctor`, keepsUsers), signal);
}

/** The description of the table, and the clock of the response that has it. */
async function* checkTable(table: Table, signal: AbortSignal): AsyncGenerator<Check> {
  const command = new sdk.DescribeTableCommand({ TableName: table.name });
  const sentAt = Date.now();
  let receivedAt = sentAt;
  let date: string | undefined;
  command.middlewareStack.add(
    next => async args => {
      const result = await next(args);
      receivedAt = Date.now();
      date = (result.response as { headers?: Record<string, string> }).headers?.date;
      return result;
    },
    { step: "deserialize", priority: "low" },
  );
  let output: DescribeTableCommandOutput;
  try {
    output = await table.client.send(command, { abortSignal: signal });
  } catch (error) {
    signal.throwIfAborted();
    yield unknown("clock", "DynamoDB's clock comes with the description of the table");
    yield unreadable("table", "DescribeTable", error);
    return;
  }
  yield checkClock(date, sentAt, receivedAt, "DynamoDB");
  const { TableStatus, ItemCount, TableSizeBytes, KeySchema, BillingModeSummary, Replicas } =
    output.Table ?? {};
  const keys = KeySchema?.map(({ AttributeName }) => AttributeName).join(", ");
  const size = `${ItemCount} items, ${formatSize(TableSizeBytes ?? 0)} as DynamoDB counted within six hours`;
  yield TableStatus === "ACTIVE" && keys === table.attributes.id
    ? ok("table", `${table.name}, key "${keys}", ${size}`)
    : problem(
        "table",
        `${table.name} is ${TableStatus}, key "${keys}"`,
        `It must be ACTIVE and have the key "${table.attributes.id}" alone.`,
      );
  if (BillingModeSummary?.BillingMode !== "PAY_PER_REQUEST") {
    yield warning(
      "capacity",
      "provisioned",
      "Watch for throttled requests, or switch the table to on-demand.",
    );
  }
  if (Replicas !== undefined && Replicas.length > 0) {
    yield warning(
      "replicas",
      `a global table (${Replicas.map(({ RegionName }) => RegionName).join(", ")})`,
      "Send all requests of a user to one region: between regions the last writer wins, so that a sign-out may be lost.",
    );
  }
}

async function checkTtl(table: Table, signal: AbortSignal): Promise<Check> {
  const { ttl } = table.attributes;
  try {
    const command = new sdk.DescribeTimeToLiveCommand({ TableName: table.name });
    const { TimeToLiveDescription } = await table.client.send(command, { abortSignal: signal });
    const { TimeToLiveStatus = "DISABLED", AttributeName } = TimeToLiveDescription ?? {};
    if (!TimeToLiveStatus.startsWith("ENABL")) {
      return problem(
        "ttl",
        `${TimeToLiveStatus}: ended sessions stay in the table`,
        `Run the command setup, or enable TTL on "${ttl}".`,
      );
    }
    if (AttributeName === ttl) return ok("ttl", `${TimeToLiveStatus} on "${ttl}"`);
    return problem(
      "ttl",
      `on "${AttributeName}", but the store writes "${ttl}": ended sessions stay in the table`,
      `Enable TTL on "${ttl}", or set the option \`attributes.ttl\`.`,
    );
  } catch (error) {
    signal.throwIfAborted();
    if (nameOf(error) === "UnknownOperationException") return unknown("ttl", "this engine has no TTL");
    return unreadable("ttl", "DescribeTimeToLive", error);
  }
}

/** Sends a request for each permission that changes nothing. */
async function* checkPermissions(probes: readonly Probe[], signal: AbortSignal): AsyncGenerator<Check> {
  const [allowed, unavailable]: [string[], string[]] = [[], []];
  for (const { action, use, isNeeded, send } of probes) {
    const name = await send(signal).then(() => undefined, nameOf);
    signal.throwIfAborted();
    if (name === undefined || /^(ConditionalCheckFailed|TransactionCanceled)Exception$/.test(name))
      allowed.push(action);
    else if (name === "UnknownOperationException") unavailable.push(action);
    else {
      const report = isNeeded ? problem : warning;
      yield report(
        `permission ${action}`,
        `rejected (${name}): ${use}`,
        `Allow dynamodb:${action}: the command setup --policy prints a policy.`,
      );
    }
  }
  if (allowed.length > 0) yield ok("permissions", allowed.join(", "));
  if (unavailable.length > 0) yield unknown("permissions", `this engine has no ${unavailable.join(", ")}`);
}

function unreadable(check: string, action: string, error: unknown): Check {
  if (nameOf(error) === "AccessDeniedException") {
    return unknown(check, `not allowed to look (${action}), which the application need not be`);
  }
  return problem(check, describeError(error), "See the message.");
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : String(error);
}
