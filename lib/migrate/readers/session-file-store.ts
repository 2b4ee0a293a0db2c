import { opendir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { SessionData } from "express-session";
import { cookieTimesOf } from "../../core/cookie.js";
import { checkOptions, rules } from "../../core/options.js";
import { StoreError } from "../../errors.js";
import { isEncrypted, type Reading, readerOf, type SessionReader, sessionOf } from "./reading.js";

/** The options of {@link readSessionFileStore}: those of session-file-store that say where sessions are. */
export interface SessionFileStoreReaderOptions {
  /** The folder. @defaultValue `"./sessions"` */
  path?: string | undefined;
  /** What the names of session files end with. @defaultValue `".json"` */
  fileExtension?: string | undefined;
  /** Seconds that a session lives after its last use, if its cookie has no `maxAge`. @defaultValue `3600` */
  ttl?: number | undefined;
  /** Parses a session. @defaultValue `JSON.parse` */
  decoder?: ((text: string) => unknown) | undefined;
}

const FILES_AT_ONCE = 16;

/**
 * Reads the sessions of session-file-store, a few files at the same time. A session ends its `cookie.originalMaxAge`, or
 * `ttl`, after the time in its `__lastAccess`.
 *
 * A session that is saved in the meantime may be given twice or, on some file systems, not at all: its next request moves it.
 *
 * Format: `sessionPath`, `set` and `isExpired` in `session-file-helpers.js` of session-file-store 1.5.
 *
 * @throws TypeError for an unknown or ill-typed option
 * @throws StoreError while reading, if sessions are encrypted (option `secret`)
 */
export function readSessionFileStore(options: SessionFileStoreReaderOptions = {}): SessionReader {
  checkOptions("readSessionFileStore", options, {
    path: rules.nonEmptyString,
    fileExtension: { test: value => typeof value === "string", expected: "a string" },
    ttl: rules.seconds,
    decoder: rules.function,
  });
  return readerOf(() => read(options));
}

async function* read(options: SessionFileStoreReaderOptions): Reading {
  const { path = "./sessions", fileExtension = ".json", ttl = 3600, decoder = JSON.parse } = options;
  const expiry = (session: SessionData & { __lastAccess?: unknown }) => {
    const { __lastAccess: lastAccess } = session;
    // session-file-store keeps a session without this time forever.
    if (typeof lastAccess !== "number") return undefined;
    return lastAccess + (cookieTimesOf(session).maxAge || ttl * 1000);
  };
  for await (const names of namesIn(path, fileExtension)) {
    const files = await Promise.allSettled(names.map(name => readFile(join(path, name), "utf8")));
    for (const [index, file] of files.entries()) {
      const sid = (names[index] as string).slice(0, -fileExtension.length || undefined);
      if (file.status === "fulfilled") {
        if (isEncrypted(file.value)) throw encrypted();
        yield* sessionOf(sid, expiry, () => decoder(file.value));
      } else if (file.reason.code !== "ENOENT") {
        // Not just destroyed in the meantime. The message has the path, and so the sid: it becomes the cause.
        yield* sessionOf(sid, undefined, () => Promise.reject(file.reason));
      }
    }
  }
}

/** The names of the session files, in groups of those that are read at the same time. */
async function* namesIn(path: string, extension: string): AsyncGenerator<string[]> {
  let names: string[] = [];
  for await (const entry of await opendir(path)) {
    const { name } = entry;
    if (entry.isDirectory() || !name.endsWith(extension) || name === extension) continue;
    names.push(name);
    if (names.length < FILES_AT_ONCE) continue;
    yield names;
    names = [];
  }
  yield names;
}

function encrypted(): StoreError {
  return new StoreError(
    "ERR_SESSION_SERIALIZE",
    "The files of session-file-store are encrypted (option `secret`), so that they cannot be copied. Let MigratingStore move each session when its browser comes back.",
  );
}
