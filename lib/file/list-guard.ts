/**
 * Users share guards, so that guards need no sweep. A sign-in that finds a guard changed by another user's sign-in is
 * written again. No key of the lists begins with the mark.
 */
const GUARDS = 1024;
const GUARD_MARK = "!";

/** The key whose version changes with the list of a user. */
export function guardOf(user: string): string {
  return GUARD_MARK + (hashOf(user) % GUARDS);
}

/** FNV-1a: spreads users over the guards. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}
