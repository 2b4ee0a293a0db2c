import { Command, CommanderError } from "commander";
import type { Process } from "./command.js";
import { addCopy } from "./commands/copy.js";
import { addClear, addDestroy } from "./commands/destroy.js";
import { addDoctor } from "./commands/doctor.js";
import { addList } from "./commands/list.js";
import { addPing } from "./commands/ping.js";
import { addSetup } from "./commands/setup.js";
import { addShow } from "./commands/show.js";
import { addStats } from "./commands/stats.js";
import { addSweep } from "./commands/sweep.js";
import { addUsers } from "./commands/users.js";
import { describeError, EXIT, UsageError, withoutCredentials } from "./errors.js";
import { Interrupted, interruptSignal } from "./interrupt.js";
import { endWithReader } from "./terminal.js";

const ABOUT = `Looks at the sessions of a store, ends them, and moves them.

A store is a URL such as file:./data/sessions.lmdb, dynamodb://eu-west-1/sessions or etcd://host:2379/prefix. For options that a URL cannot have it is the path of a JavaScript module whose default export is a store, or a function that returns one. Without --store it is the environment variable SESSION_STORE.

The result goes to stdout, all else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 after ^C.`;

const commands = [
  addPing,
  addSetup,
  addList,
  addShow,
  addStats,
  addDestroy,
  addClear,
  addSweep,
  addUsers,
  addCopy,
  addDoctor,
];

/** Runs the command line and ends the process: clients of the user's own may keep it alive. */
export async function main(args: string[]): Promise<void> {
  const current: Process = { signal: interruptSignal(), exitCode: EXIT.ok };
  endWithReader(current);
  // If nothing is left that could settle what is waited for, the process ends without coming to its end.
  process.exitCode = EXIT.failure;
  try {
    await createProgram(current).parseAsync(withIdsLast(args), { from: "user" });
  } catch (error) {
    current.exitCode = report(error);
  }
  process.stdout.write("", () => process.exit(current.exitCode));
}

function createProgram(current: Process): Command {
  const { version } = require("../../package.json") as { version: string };
  const program = new Command("express-session-stores")
    .description(ABOUT)
    .version(version)
    .showHelpAfterError("(--help shows what there is)")
    // Before the commands, which inherit it.
    .exitOverride()
    .configureOutput({ writeErr: text => process.stderr.write(withoutCredentials(text)) });
  for (const add of commands) add(program, current);
  return program;
}

/** One id in 64 begins with a `-`, and would be taken for an option: such ones are moved behind a `--`. */
function withIdsLast(args: readonly string[]): readonly string[] {
  const end = args.indexOf("--");
  const [options, operands] = end < 0 ? [args, []] : [args.slice(0, end), args.slice(end + 1)];
  const isId = (arg: string) => /^-[A-Za-z0-9_-]{31,}$/.test(arg);
  const last = [...options.filter(isId), ...operands];
  // An option without a value would take a `--` for it.
  return last.length === 0 ? args : [...options.filter(arg => !isId(arg)), "--", ...last];
}

/** Says what went wrong. Returns the exit code. */
function report(error: unknown): number {
  if (error instanceof CommanderError) {
    // Commander has said it already. Help that was asked for is no error.
    return error.code === "commander.helpDisplayed" || error.code === "commander.version"
      ? EXIT.ok
      : EXIT.usage;
  }
  if (error instanceof Interrupted) return EXIT.interrupted;
  process.stderr.write(`error: ${describeError(error)}\n`);
  return error instanceof UsageError ? EXIT.usage : EXIT.failure;
}
