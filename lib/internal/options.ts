import { inspect } from "node:util";

/** What an option must be: a test and the words that follow "Expected `name` to be". */
export interface Rule {
  test(value: unknown): boolean;
  expected: string;
  required?: boolean;
  /** Whether the value must not be shown in an error. */
  secret?: boolean;
}

const MAX_TIMER_MS = 2 ** 31 - 1;

const isFinitePositive = (value: unknown) => Number.isFinite(value) && (value as number) > 0;
const isFiniteFromZero = (value: unknown) => Number.isFinite(value) && (value as number) >= 0;

/** Rules that several stores use. */
export const rules = {
  boolean: { test: value => typeof value === "boolean", expected: "a boolean" },
  nonEmptyString: {
    test: value => typeof value === "string" && value !== "",
    expected: "a non-empty string",
  },
  function: { test: value => typeof value === "function", expected: "a function" },
  positiveInteger: {
    test: value => Number.isSafeInteger(value) && (value as number) > 0,
    expected: "a positive integer",
  },
  seconds: { test: isFinitePositive, expected: "a positive number of seconds" },
  secondsFromZero: { test: isFiniteFromZero, expected: "a number of seconds, 0 or more" },
  interval: {
    test: value => isFiniteFromZero(value) && (value as number) * 1000 <= MAX_TIMER_MS,
    expected: `a number of seconds from 0 (off) to ${Math.floor(MAX_TIMER_MS / 1000)}`,
  },
  milliseconds: {
    test: value => isFinitePositive(value) && (value as number) <= MAX_TIMER_MS,
    expected: `a positive number of milliseconds, at most ${MAX_TIMER_MS}`,
  },
} satisfies Record<string, Rule>;

/** Shown in place of a value that may be a secret. */
const HIDDEN = Object.freeze({});

/** The one wording for a wrong argument or option. `depth: -1` keeps clients and their credentials out of it. */
export function misuse(name: string, expected: string, value: unknown): TypeError {
  const shown = inspect(value, { depth: -1, maxStringLength: 80, breakLength: Number.POSITIVE_INFINITY });
  return new TypeError(`Expected \`${name}\` to be ${expected}, got \`${shown}\` (${typeof value})`);
}

/**
 * Checks the options of a store against its rules. An option that is `undefined` counts as left out.
 *
 * @throws TypeError naming the option, its value and what was expected
 */
export function checkOptions(storeName: string, options: unknown, known: Record<string, Rule>): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw misuse("options", `an object of options for ${storeName}`, options);
  }
  for (const [name, value] of Object.entries(options)) {
    if (Object.hasOwn(known, name)) continue;
    throw misuse(name, `left out: ${storeName} knows only ${Object.keys(known).join(", ")}`, value);
  }
  for (const [name, rule] of Object.entries(known)) {
    const value = (options as Record<string, unknown>)[name];
    if (value === undefined ? rule.required : !rule.test(value)) {
      throw misuse(name, rule.expected, rule.secret && value !== undefined ? HIDDEN : value);
    }
  }
}
