import { inspect } from "node:util";

/** What an option must be: a test and the words that follow "Expected `name` to be". */
export interface Rule {
  test(value: unknown): boolean;
  expected: string;
  required?: boolean;
  /** For values that must not be shown in an error: says what is wrong with one. */
  problem?(value: unknown): string | undefined;
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

/** The rule of an option that holds others, or a secret. `problem` says what is wrong with a value, if anything is. */
export function secretRule(problem: (value: unknown) => string | undefined, expected: string): Rule {
  return { test: value => problem(value) === undefined, expected, problem };
}

/** The type of a value, in words, without the value. */
export function typeName(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "an array" : typeof value;
}

/** The error for a wrong argument or option. `depth: -1` keeps clients and their credentials out of the message. */
export function invalidArgument(name: string, expected: string, value: unknown): TypeError {
  if (value === undefined) return new TypeError(`Expected \`${name}\` to be ${expected}, got nothing`);
  const shown = inspect(value, { depth: -1, maxStringLength: 80, breakLength: Number.POSITIVE_INFINITY });
  return new TypeError(`Expected \`${name}\` to be ${expected}, got \`${shown}\` (${typeof value})`);
}

/**
 * Checks the options of a store against its rules. An option that is `undefined` counts as left out.
 *
 * @throws TypeError naming the option, its value (unless it may be a secret) and what was expected
 */
export function checkOptions(storeName: string, options: unknown, known: Record<string, Rule>): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw invalidArgument("options", `an object of options for ${storeName}`, options);
  }
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(known, name)) continue;
    // The value is not shown: it may be a secret of another package's option.
    throw new TypeError(`Unknown option \`${name}\`. ${storeName} accepts ${Object.keys(known).join(", ")}.`);
  }
  for (const [name, rule] of Object.entries(known)) {
    const value = (options as Record<string, unknown>)[name];
    if (value === undefined ? rule.required : !rule.test(value)) {
      const problem = rule.problem?.(value);
      if (problem === undefined) throw invalidArgument(name, rule.expected, value);
      throw new TypeError(`Expected \`${name}\` to be ${rule.expected}, but ${problem}`);
    }
  }
}
