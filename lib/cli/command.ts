import type { Command } from "commander";
import type { AbstractStore } from "../core/abstract-store.js";
import { assertExists, closeStore, openStore } from "./open-store.js";
import { Terminal } from "./terminal.js";

/** What commands share. */
export interface Process {
  /** Aborted by ^C. */
  readonly signal: AbortSignal;
  exitCode: number;
  /** Whether the command changes sessions: it has failed if it ends early. */
  isChange?: boolean;
}

/** One run of a command on a store. */
export interface Run<Options> {
  readonly store: AbstractStore;
  readonly options: Options;
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
}

/** Returns the exit code. */
export type Work<Options, Arguments extends unknown[]> = (
  run: Run<Options>,
  ...args: Arguments
) => Promise<number>;

interface CommonOptions {
  readonly store?: string;
  readonly json?: boolean;
}

/** Adds `--store` and `--json` to a command, and runs `work` with the store. */
export function onStore<Options, Arguments extends unknown[]>(
  command: Command,
  current: Process,
  work: Work<Options & CommonOptions, Arguments>,
  settings: { mayCreate?: boolean; isChange?: boolean } = {},
): Command {
  return command
    .option("-s, --store <store>", "URL of the store, or path of a module that exports it (SESSION_STORE)")
    .option("--json", "print JSON lines")
    .action(async (...given: unknown[]) => {
      const options = command.optsWithGlobals<Options & CommonOptions>();
      // Commander appends the options and the command.
      const args = given.slice(0, -2) as Arguments;
      const { signal } = current;
      current.isChange = settings.isChange === true;
      const store = await openStore(options.store ?? process.env.SESSION_STORE);
      // Failed background work does not fail the command.
      store.on("error", () => {});
      try {
        if (!settings.mayCreate) assertExists(store);
        const run = { store, options, signal, terminal: new Terminal(options.json === true) };
        current.exitCode = await work(run, ...args);
      } finally {
        await closeStore(store);
      }
    });
}

/** Help with examples. Each is written without the name of the program. */
export function examples(command: Command, lines: readonly string[]): Command {
  const text = lines.map(line => `  $ npx express-session-stores ${line}`).join("\n");
  return command.addHelpText("after", `\nExamples:\n${text}`);
}
