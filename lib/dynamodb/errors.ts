import type {
  CancellationReason,
  ConditionalCheckFailedException,
  TransactionCanceledException,
} from "@aws-sdk/client-dynamodb";
import { StoreError } from "../errors.js";

/** Reasons why a transaction was canceled. */
const REFUSED = "ConditionalCheckFailed";
const TRANSIENT: readonly unknown[] = [
  "TransactionConflict",
  "ThrottlingError",
  "ProvisionedThroughputExceeded",
];

export function errorName(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

/** Whether the condition of a write did not hold. */
export function isRefused(error: unknown): error is ConditionalCheckFailedException {
  return errorName(error) === "ConditionalCheckFailedException";
}

/** Whether an attribute that is to be added to is not a number. */
export function isWrongType(error: unknown): boolean {
  return errorName(error) === "ValidationException" && /data type/.test((error as Error).message);
}

/** Whether the client sent a request more than once. */
export function isRepeated({ $metadata }: { $metadata: { attempts?: number | undefined } }): boolean {
  return ($metadata.attempts ?? 1) > 1;
}

/** Whether it may help to send a command again: DynamoDB was busy with another one. */
export function isTransient(error: unknown): boolean {
  if (!isCanceled(error)) return errorName(error) === "TransactionConflictException";
  const codes = (error.CancellationReasons ?? []).map(({ Code }) => Code);
  return codes.some(code => TRANSIENT.includes(code)) && !codes.includes(REFUSED);
}

export function isCanceled(error: unknown): error is TransactionCanceledException {
  return errorName(error) === "TransactionCanceledException";
}

/** Whether the condition of one write of a transaction did not hold. */
export function isReasonRefused(reason: CancellationReason | undefined): reason is CancellationReason {
  return reason?.Code === REFUSED;
}

/** Whether one write of a transaction would have made its item too large. */
export function isReasonTooLarge(reason: CancellationReason | undefined): boolean {
  return reason?.Code === "ValidationError" && /size/i.test(reason.Message ?? "");
}

export function noTransactions(cause: unknown): StoreError {
  return new StoreError(
    "ERR_STORE_UNAVAILABLE",
    "This engine has no TransactWriteItems, which the option `user` needs: use DynamoDB or DynamoDB Local instead of dynalite.",
    { cause },
  );
}

export function tooManySessions(cause: unknown): StoreError {
  return new StoreError(
    "ERR_TOO_MANY_SESSIONS",
    "The list of the user's sessions has reached DynamoDB's limit for an item, 400 KB: end some of them (`destroyByUser`), or limit their number (`maxSessionsPerUser`).",
    { cause },
  );
}
