import { type EncryptionOptions, encryptionRule } from "../core/encryption.js";
import type { HashIdsOptions } from "../core/hashed-ids.js";
import { invalidArgument } from "../core/options.js";
import type { StoreOptions } from "../core/store-options.js";
import type { SessionLimitOptions } from "../core/users/session-limit.js";
import { secretOf, variableOf } from "./secrets.js";
import { type StoreUrl, wrongUrl } from "./store-url.js";

/** Turns the text of a parameter into the value of its option. The constructor of the store checks the value. */
export type Reader<Value = unknown> = (text: string, name: string) => Value;

/** Readers by the name of their parameter. `a.b` is the field `b` of the option `a`. */
export type Readers = Readonly<Record<string, Reader>>;

/** Options by name. */
export type Options = Record<string, unknown>;

export const text: Reader<string> = value => value;

export const number: Reader<number> = (value, name) => {
  if (!/^-?\d+(\.\d+)?$/.test(value)) throw invalidArgument(name, "a number", value);
  return Number(value);
};

export const boolean: Reader<boolean> = (value, name) => {
  if (value !== "true" && value !== "false") throw invalidArgument(name, "true or false", value);
  return value === "true";
};

const hashIds: Reader<boolean | HashIdsOptions> = (value, name) =>
  value === "true" || value === "false"
    ? value === "true"
    : { secret: secretOf(value, name, "be true or false, or to ") };

const encryption: Reader<EncryptionOptions> = (value, name) => {
  const keys = secretOf(value, name)
    .split(",")
    .map(key => key.trim());
  const problem = encryptionRule.problem?.({ keys });
  if (problem === undefined) return { keys };
  throw new TypeError(
    `Expected the environment variable ${variableOf(value)}, which \`${name}\` names, to have keys of 32 bytes in base64, separated by commas, but ${problem}`,
  );
};

const sessionLimit: Reader<SessionLimitOptions> = (value, name) => {
  const [, max, onExceeded] = /^(\d+)(?::(reject|end-oldest))?$/.exec(value) ?? [];
  if (max === undefined) {
    throw invalidArgument(name, "a positive integer, which `:reject` or `:end-oldest` may follow", value);
  }
  return { max: Number(max), onExceeded: onExceeded as SessionLimitOptions["onExceeded"] };
};

const secretReaders = { hashIds, encryption };

/** The shared options that a URL can have. The others are functions and objects. */
const sharedReaders = {
  prefix: text,
  ttl: number,
  touchAfter: number,
  absoluteTimeout: number,
  conflict: text,
  disableTouch: boolean,
  timeoutMs: number,
  maxSessionsPerUser: sessionLimit,
} satisfies { [Name in keyof StoreOptions]?: Reader };

const fieldReaders = { "encryption.acceptUnencrypted": boolean };

/**
 * Reads the parameters of a URL.
 *
 * @param own - the readers of the backend's own parameters, those of secrets first
 * @throws TypeError for an unknown or ill-typed parameter
 */
export function readParameters({ scheme, parameters }: StoreUrl, own: Readers): Options {
  // An option comes before its fields. Secrets come before what may be a part of one, if it was not encoded.
  const readers: Readers = { ...secretReaders, ...own, ...sharedReaders, ...fieldReaders };
  const values: Options = {};
  for (const [name, read] of Object.entries(readers)) {
    const [given, ...more] = parameters.get(name) ?? [];
    if (given === undefined) continue;
    const [option = "", field] = name.split(".");
    const value = read(given, name);
    if (more.length > 0) throw wrongUrl(scheme, `has the parameter \`${name}\` more than once`);
    values[option] = field === undefined ? value : { ...(values[option] as Options), [field]: value };
  }
  for (const name of parameters.keys()) {
    if (Object.hasOwn(readers, name)) continue;
    const shown = /^[\w.-]{1,40}$/.test(name) ? ` \`${name}\`` : "";
    throw new TypeError(
      `Unknown parameter${shown} in the ${scheme} URL of the session store. Known are ${Object.keys(readers).join(", ")}.`,
    );
  }
  return values;
}

/**
 * The options of the URL with those that were passed beside it.
 *
 * @throws TypeError if an option is in both
 */
export function combine<FromUrl extends Options>(
  fromUrl: FromUrl,
  given: StoreOptions,
): FromUrl & StoreOptions {
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || !Object.hasOwn(fromUrl, name) || fromUrl[name] === undefined) continue;
    throw new TypeError(
      `\`${name}\` is set by the URL of the session store and by \`options\`: leave it out of one of them`,
    );
  }
  const left = Object.fromEntries(Object.entries(fromUrl).filter(([, value]) => value !== undefined));
  return { ...given, ...left } as FromUrl & StoreOptions;
}
