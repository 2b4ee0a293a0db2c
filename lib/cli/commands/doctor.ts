import type { Command } from "commander";
import { internalsOf } from "../../core/abstract-store.js";
import type { StoreError } from "../../errors.js";
import { examples, onStore, type Process, type Run } from "../command.js";
import { type Check, ok, problem } from "../doctor/check.js";
import { checkEtcd } from "../doctor/etcd.js";
import { checkVersions } from "../doctor/versions.js";
import { describeError, EXIT } from "../errors.js";
import { describeStore, kindOf } from "../kinds.js";
import { color } from "../terminal.js";

const marks = {
  ok: color("green", "ok     "),
  unknown: color("dim", "unknown"),
  warning: color("yellow", "warning"),
  problem: color("red", "problem"),
};

/** `doctor`: what may be wrong with a store, its backend and this host. */
export function addDoctor(program: Command, current: Process): void {
  const command = program
    .command("doctor")
    .description(
      "check the store, its backend and this host. Changes nothing. Exit code 1 if there is a problem",
    );
  onStore(command, current, async run => {
    const { terminal, store } = run;
    terminal.note(`Checking ${describeStore(store)}`);
    const counts = { ok: 0, unknown: 0, warning: 0, problem: 0 };
    for await (const check of checksOf(run)) {
      const { status, check: name, detail, advice } = check;
      counts[status] += 1;
      await terminal.result(check, () => {
        const line = `${marks[status]}  ${name}: ${detail}`;
        return advice === undefined ? line : `${line}\n         ${advice}`;
      });
    }
    terminal.note(`${counts.problem} problem(s), ${counts.warning} warning(s)`);
    return counts.problem > 0 ? EXIT.failure : EXIT.ok;
  });
  examples(command, ["doctor", "doctor --store etcd://127.0.0.1:2379 --json"]);
}

/** Whether DynamoDB was reached and rejected the request. */
function isDenied({ cause }: { cause?: unknown }): boolean {
  return (cause as Error | undefined)?.name === "AccessDeniedException";
}

async function* checksOf({ store, signal }: Run<object>): AsyncGenerator<Check> {
  const { dynamodb, etcd, file } = kindOf(store);
  const clients = dynamodb
    ? ["@aws-sdk/client-dynamodb", "@aws-sdk/lib-dynamodb"]
    : etcd
      ? ["etcd3"]
      : file
        ? ["lmdb"]
        : [];
  yield* checkVersions(clients);
  const startedAt = performance.now();
  try {
    await store.ping({ signal });
    yield ok("ping", `${(performance.now() - startedAt).toFixed(1)} ms`);
  } catch (error) {
    signal.throwIfAborted();
    const isMissing = (error as StoreError).code === "ERR_STORE_TABLE_MISSING";
    const advice = isMissing ? "Run the command setup." : "The store cannot be used until this is solved.";
    yield problem("ping", describeError(error), advice);
    // More can be said of members of etcd, and of permissions that are missing.
    if (etcd === undefined && !isDenied(error as Error)) return;
  }
  try {
    if (file !== undefined) {
      const { checkFile } = await import("../doctor/file.js");
      yield* checkFile(file);
    }
    if (dynamodb !== undefined) {
      const { checkDynamoDB } = await import("../doctor/dynamodb.js");
      yield* checkDynamoDB(dynamodb, internalsOf(store).records.keepsUsers, signal);
    }
    if (etcd !== undefined) yield* checkEtcd(etcd, signal);
  } catch (error) {
    signal.throwIfAborted();
    yield problem("backend", describeError(error), "The checks could not be finished. See the message.");
  }
}
