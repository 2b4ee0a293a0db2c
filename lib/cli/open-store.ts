import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { AbstractStore } from "../core/abstract-store.js";
import { createStore } from "../create-store.js";
import { Failure, UsageError } from "./errors.js";
import { isNamed, kindOf } from "./kinds.js";

/** Begins with a scheme of two letters or more: `C:\sessions.js` is a path. */
const URL_START = /^[a-z][a-z0-9+.-]+:/i;

const CLOSE_MS = 5000;

/**
 * Opens the store that a URL or a module names.
 *
 * @param option - the option that has the setting, for errors
 * @throws UsageError if it names none
 */
export async function openStore(setting: string | undefined, option = "--store"): Promise<AbstractStore> {
  const store = await openSetting(setting, option);
  if (store instanceof AbstractStore) return store;
  if (isNamed(store, "AbstractStore")) {
    throw new UsageError(
      `The module of \`${option}\` exports a store of another copy of express-session-stores. Run the command in the folder where the application has the package installed.`,
    );
  }
  if (isNamed(store, "MigratingStore")) {
    throw new UsageError(
      `The module of \`${option}\` exports a MigratingStore, which has two stores: let it export one of these.`,
    );
  }
  throw new UsageError(
    `The module of \`${option}\` must export a store of this package, or a function that returns one, as its default.`,
  );
}

/** What a URL or a module names: a store or whatever else the module exports. @throws UsageError */
export async function openSetting(setting: string | undefined, option: string): Promise<unknown> {
  if (setting === undefined) {
    throw new UsageError(
      `No store is given: use \`${option}\` or the environment variable SESSION_STORE, with a URL such as file:./data/sessions.lmdb or the path of a module that exports a store.`,
    );
  }
  const path = resolve(setting);
  const isModule = !URL_START.test(setting) && setting !== "" && existsSync(path);
  if (isModule) return await loadModule(path, option);
  if (/^\.{0,2}\/|\.[cm]?js$/.test(setting) && !setting.includes("@")) {
    throw new UsageError(`The module \`${setting}\` of \`${option}\` does not exist.`);
  }
  try {
    return createStore(setting);
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(error.message);
    throw error;
  }
}

async function loadModule(path: string, option: string): Promise<unknown> {
  let exported: unknown;
  try {
    const namespace = (await import(pathToFileURL(path).href)) as { default?: unknown };
    exported = namespace.default;
    // A CommonJS module that was compiled from an ES module.
    const inner = (exported as { default?: unknown } | undefined)?.default;
    if (inner !== undefined && typeof exported !== "function") exported = inner;
    return typeof exported === "function" ? await exported() : exported;
  } catch (cause) {
    throw new Failure(`The module of \`${option}\` failed.`, { cause });
  }
}

/** A command that does not write must not create an empty session file where a path is mistyped. */
export function assertExists(store: AbstractStore): void {
  const { file } = kindOf(store);
  if (file !== undefined && !existsSync(file.path)) {
    throw new Failure(`There is no session file at ${resolve(file.path)}.`);
  }
}

/** Closes a store, unless that takes longer than anybody wants to wait at the end of a command. */
export async function closeStore(store: AbstractStore): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>(done => {
    timer = setTimeout(done, CLOSE_MS);
  });
  await Promise.race([store.close().catch(() => {}), timeout]);
  clearTimeout(timer);
}
