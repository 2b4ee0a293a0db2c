/**
 * The error to throw when an optional peer dependency could not be loaded: one that says what to install, if the
 * package is missing. Modules call `require` with the literal name of a peer in a `try` block. Bundlers then see it, and
 * warn if it is missing instead of failing.
 */
export function peerError(error: unknown, name: string, subpath: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  // Only the package itself: a dependency that it misses is another problem.
  if (code !== "MODULE_NOT_FOUND" || !message.includes(`'${name}'`)) return error;
  return new Error(
    `express-session-stores/${subpath} needs the package ${name}, which is not installed: npm install ${name}`,
    { cause: error },
  );
}
