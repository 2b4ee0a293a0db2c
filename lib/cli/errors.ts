/** What a command ends with. */
export const EXIT = { ok: 0, failure: 1, usage: 2, interrupted: 130 } as const;

/** The command was not given what it needs: exit code 2. */
export class UsageError extends Error {}

/** The command could not do what it was asked for, and this is all there is to say: exit code 1. */
export class Failure extends Error {}

/** The credentials of anything that looks like a URL. */
const CREDENTIALS = /(:\/\/)\S*@/g;
const PASSWORD = /([?&]password=)(?!env:)[^&\s'"]*/gi;

/** The messages of an error and of its causes, one a line, without the credentials of URLs. */
export function describeError(error: unknown): string {
  const lines: string[] = [];
  for (let cause = error; cause !== undefined && lines.length < 5; cause = causeOf(cause)) {
    const message = messageOf(cause);
    // Those of loaders have a stack below.
    const line = cause === error ? message : (message.split("\n", 1)[0] as string);
    if (line !== lines.at(-1)) lines.push(line);
  }
  return withoutCredentials(lines.join("\n  cause: "));
}

export function withoutCredentials(text: string): string {
  return text.replace(CREDENTIALS, "$1***@").replace(PASSWORD, "$1***");
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as NodeJS.ErrnoException;
  // An AggregateError of a connection has no message.
  const message = error.message || String(code ?? error.name);
  const isPlain = error.name === "Error" || error.name === "TypeError" || error instanceof UsageError;
  if (isPlain || error.name === "StoreError") return message;
  return message.startsWith(error.name) ? message : `${error.name}: ${message}`;
}

function causeOf(error: unknown): unknown {
  return error instanceof Error ? error.cause : undefined;
}
