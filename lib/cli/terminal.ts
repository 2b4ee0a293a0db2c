import { once } from "node:events";
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { withoutCredentials } from "./errors.js";

/** The streams of the process: the result goes to stdout, all else to stderr. */
export class Terminal {
  readonly isJson: boolean;

  constructor(isJson: boolean) {
    this.isJson = isJson;
  }

  /** Writes a line of the result. Wait for it: whoever reads stdout may be slow. */
  async print(line: string): Promise<void> {
    if (!process.stdout.write(`${line}\n`)) await once(process.stdout, "drain");
  }

  /** Writes a result, as JSON or as the text that `describe` returns. */
  async result(value: object, describe: () => string): Promise<void> {
    await this.print(this.isJson ? toJson(value) : describe());
  }

  /** Writes a line that is not a part of the result. */
  note(line: string): void {
    process.stderr.write(`${withoutCredentials(line)}\n`);
  }

  /** Whether somebody can be asked. */
  get isInteractive(): boolean {
    return process.stdin.isTTY === true && process.stderr.isTTY === true;
  }

  /** Asks for a line. Resolves with an empty one at the end of the input, and rejects when the signal is aborted. */
  async ask(question: string, signal: AbortSignal): Promise<string> {
    signal.throwIfAborted();
    // Not as a terminal: that would take ^C for itself.
    const lines = createInterface({ input: process.stdin, terminal: false });
    const abort = () => lines.close();
    signal.addEventListener("abort", abort);
    process.stderr.write(question);
    try {
      const answer = await new Promise<string>(resolve => {
        lines.once("line", resolve).once("close", () => resolve(""));
      });
      signal.throwIfAborted();
      return answer.trim();
    } finally {
      signal.removeEventListener("abort", abort);
      lines.close();
    }
  }
}

/** Control characters, also those that turn the direction of writing. A user may have chosen a name with some. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** A text that does nothing to a terminal. */
export function printable(text: string): string {
  return text.replace(CONTROLS, character => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** JSON in one line that does nothing to a terminal. Serializers of applications may know more than JSON does. */
export function toJson(value: unknown): string {
  const text: string | undefined = JSON.stringify(value, (_key, inner) =>
    typeof inner === "bigint" ? String(inner) : inner,
  );
  return printable(text ?? "null");
}

const colors = { green: 32, yellow: 33, red: 31, bold: 1, dim: 2 } as const;

/** Colors a text for stdout if that is a terminal and nobody minds (https://no-color.org). */
export function color(name: keyof typeof colors, text: string): string {
  const isWanted = process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== "dumb";
  return isWanted ? `\u001b[${colors[name]}m${text}\u001b[0m` : text;
}

/** Ends the process quietly when the reader of stdout has gone, as `head` does. */
export function endWithReader(current: { readonly isChange?: boolean }): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      // A full disk is not the reader's doing.
      if (error.code !== "EPIPE") writeSync(2, `error: the result could not be written: ${error.message}\n`);
      process.exit(error.code === "EPIPE" && current.isChange !== true ? 0 : 1);
    });
  }
}
