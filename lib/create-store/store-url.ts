/** A store URL in its parts. Nothing of it is shown in an error: any part may have a password, if one is misplaced. */
export interface StoreUrl {
  /** In lower case, without the colon. */
  readonly scheme: string;
  /** What stands between `//` and the next `/`, not decoded; `undefined` if there is no `//`. */
  readonly authority: string | undefined;
  /** The path, decoded. */
  readonly path: string;
  /** The values of each parameter of the query, decoded. */
  readonly parameters: ReadonlyMap<string, readonly string[]>;
}

const PARTS = /^([^:]*):(?:\/\/([^/?]*))?([^?]*)(?:\?(.*))?$/s;
const UNKNOWN_SCHEME = /^([a-z][a-z0-9+.-]{0,19}):\/\//i;

/** The error for a URL that is wrong. `problem` must not quote the URL. */
export function wrongUrl(scheme: string, problem: string): TypeError {
  return new TypeError(`The ${scheme} URL of the session store ${problem}`);
}

/**
 * Takes a store URL apart. Not with `URL`, which turns `file:./x` into `/x`, rejects several hosts, and shows the
 * password in its error.
 *
 * @param known - an example of each scheme, by its name
 * @throws TypeError if it is no URL of a known scheme
 */
export function parseStoreUrl(url: unknown, known: Record<string, string>): StoreUrl {
  const examples = `Known are ${Object.values(known).join(", ")}.`;
  if (url === undefined || url === null || url === "") {
    const given = url === "" ? "empty" : String(url);
    throw new TypeError(`The URL of the session store is ${given}: is a setting missing? ${examples}`);
  }
  if (typeof url !== "string") {
    throw new TypeError(`Expected \`url\` to be a string, got ${typeof url}. ${examples}`);
  }
  const [, scheme = "", authority, path = "", query = ""] = PARTS.exec(url) ?? [];
  const name = scheme.toLowerCase();
  if (!Object.hasOwn(known, name)) {
    // Without `//` it may be anything, also a secret.
    const [, shown] = UNKNOWN_SCHEME.exec(url) ?? [];
    const problem = shown === undefined ? "is not of a known scheme" : `has the unknown scheme \`${shown}:\``;
    throw new TypeError(`The URL of the session store ${problem}. ${examples}`);
  }
  assertUnambiguous(name, url, authority, path, query);
  return { scheme: name, authority, path: decode(name, path, "path"), parameters: parametersOf(name, query) };
}

/** Decodes what is percent-encoded. A `+` is a plus sign. */
export function decode(scheme: string, text: string, part: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw wrongUrl(scheme, `has a \`%\` in its ${part} that encodes nothing: write \`%\` itself as \`%25\``);
  }
}

/** Rejects a password that was not encoded, before any part of it is taken for something else. */
function assertUnambiguous(
  scheme: string,
  url: string,
  authority: string | undefined,
  path: string,
  query: string,
): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  if (/[\u0000-\u001f\u007f]/.test(url) || url.trim() !== url) {
    throw wrongUrl(scheme, "has a space at its beginning or end, a line break or another control character");
  }
  if (url.includes("#")) throw wrongUrl(scheme, "has a `#`: write it as `%23`");
  const afterAuthority = authority ? path + query : query;
  if (afterAuthority.includes("@")) {
    throw wrongUrl(
      scheme,
      "has an `@` where none may stand: write it as `%40`, and in a password also `/` as `%2F` and `?` as `%3F`",
    );
  }
}

function parametersOf(scheme: string, query: string): Map<string, string[]> {
  const parameters = new Map<string, string[]>();
  for (const pair of query.split("&")) {
    if (pair === "") continue;
    const [encodedName = "", ...rest] = pair.split("=");
    const name = decode(scheme, encodedName, "query");
    const value = decode(scheme, rest.join("="), "query");
    parameters.set(name, [...(parameters.get(name) ?? []), value]);
  }
  return parameters;
}
