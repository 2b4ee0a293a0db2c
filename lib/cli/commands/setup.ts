import type { Command } from "commander";
import { examples, onStore, type Process } from "../command.js";
import { EXIT, UsageError } from "../errors.js";
import { kindOf } from "../kinds.js";
import type { PolicyOptions } from "../policy.js";

interface SetupOptions extends PolicyOptions {
  readonly policy?: boolean;
}

/** `setup`: creates what a store needs before it is used. */
export function addSetup(program: Command, current: Process): void {
  const command = program
    .command("setup")
    .description("create the DynamoDB table with its TTL, or print the IAM policy that the application needs")
    .option("--policy", "print the smallest IAM policy of a DynamoDB store, and create nothing")
    .option("--listings", "with --policy: also allow `all`, `ids`, `entries`, `length` and `clear`")
    .option("--operator", "with --policy: also allow all commands of this program");
  onStore<SetupOptions, []>(
    command,
    current,
    async ({ store, options, terminal, signal }) => {
      const { dynamodb, file } = kindOf(store);
      if (options.policy) {
        if (dynamodb === undefined) throw new UsageError("`--policy` is for DynamoDB stores.");
        const { policyOf } = await import("../policy.js");
        const policy = await policyOf(dynamodb, options);
        await terminal.result(policy, () => JSON.stringify(policy, undefined, 2));
        return EXIT.ok;
      }
      if (options.listings || options.operator)
        throw new UsageError("`--listings` and `--operator` belong to `--policy`.");
      if (dynamodb === undefined) {
        const text =
          file === undefined
            ? `${store.constructor.name} has nothing to set up.`
            : "FileStore has nothing to set up: the first request creates the file and its folder.";
        await terminal.result({ store: store.constructor.name, isNeeded: false }, () => text);
        return EXIT.ok;
      }
      terminal.note(`Creating the table ${dynamodb.tableName} if it does not exist. This may take a minute.`);
      await dynamodb.createTable({ signal });
      const { id, ttl } = dynamodb.attributes;
      await terminal.result(
        { store: store.constructor.name, table: dynamodb.tableName, isReady: true },
        () => `The table ${dynamodb.tableName} is ready: partition key "${id}", TTL on "${ttl}".`,
      );
      return EXIT.ok;
    },
    { mayCreate: true },
  );
  examples(command, [
    "setup --store dynamodb://eu-west-1/sessions",
    "setup --store dynamodb://eu-west-1/sessions --policy",
  ]);
}
