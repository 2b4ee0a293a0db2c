/**
 * Loads an optional peer dependency for the subpath that needs it. `load` has the `require` call itself, so that
 * bundlers see it.
 *
 * @throws Error that says what to install, if the package is missing
 */
export function requirePeer<T>(name: string, subpath: string, load: () => unknown): T {
  try {
    return load() as T;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    // Only the package itself: a dependency that it misses is another problem.
    if (code !== "MODULE_NOT_FOUND" || !message.includes(`'${name}'`)) throw error;
    throw new Error(
      `express-session-stores/${subpath} needs the package ${name}, which is not installed: npm install ${name}`,
      { cause: error },
    );
  }
}
