/**
 * The value of a parameter that is a secret: that of the environment variable it names, `env:NAME`. The only place of
 * the package that reads environment variables.
 *
 * @param others - what else the parameter may be, for the error
 * @throws TypeError if it names none, or if the variable is unset or empty
 */
export function secretOf(text: string, parameter: string, others = ""): string {
  const name = variableOf(text);
  if (name === undefined) {
    // The value is not shown: it may be the secret.
    throw new TypeError(
      `Expected \`${parameter}\` to ${others}name an environment variable that has the secret, \`${parameter}=env:NAME\`: URLs are logged and shown, so a secret in one is refused`,
    );
  }
  const value = process.env[name];
  if (value) return value;
  const state = value === undefined ? "not set" : "empty";
  throw new TypeError(`The environment variable ${name}, which \`${parameter}\` names, is ${state}`);
}

/** The name in `env:NAME`. */
export function variableOf(text: string): string | undefined {
  return /^env:([A-Za-z_][A-Za-z0-9_]*)$/.exec(text)?.[1];
}
