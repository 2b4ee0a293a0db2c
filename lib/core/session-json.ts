/*
 * `JSON.stringify` for sessions: a faster way to serialize the date in the cookie, which is a quarter of the time for a
 * `Session` of 1 KB (bench/RESULTS.md). It may be deleted at any time: `JSON.stringify` gives the same text.
 */

/** Returns what `JSON.stringify(session)` returns. @throws TypeError if that is not the text of an object */
export function stringifySession(session: object): string {
  if (typeof (session as { toJSON?: unknown }).toJSON === "function") return checked(session);
  const fields: { cookie?: { toJSON?: unknown } | null } = { ...session };
  if (typeof fields.cookie?.toJSON !== "function") return checked(session);
  const cookie = fields.cookie.toJSON("cookie");
  if (!(cookie?.expires instanceof Date)) return checked(session);
  fields.cookie = { ...cookie, expires: isoTime(cookie.expires.getTime()) };
  return JSON.stringify(fields);
}

/** A session's `toJSON` may return anything. Only an object could be read again. */
function checked(session: object): string {
  const text: string | undefined = JSON.stringify(session);
  if (!text?.startsWith("{")) throw new TypeError("The session's `toJSON` must return an object");
  return text;
}

let second = Number.NaN;
let upToSecond = "";

/** Returns what `new Date(time).toJSON()` returns. Sessions saved in one second mostly expire in one second too. */
export function isoTime(time: number): string | null {
  if (Number.isNaN(time)) return null;
  const inSecond = Math.floor(time / 1000);
  if (inSecond !== second) {
    upToSecond = new Date(inSecond * 1000).toISOString().slice(0, -"000Z".length);
    second = inSecond;
  }
  return `${upToSecond}${String(time - inSecond * 1000).padStart(3, "0")}Z`;
}
