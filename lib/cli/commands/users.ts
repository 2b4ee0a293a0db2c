import type { Command } from "commander";
import { internalsOf } from "../../core/abstract-store.js";
import type { SessionRecord } from "../../core/session-records.js";
import { examples, onStore, type Process, type Run } from "../command.js";
import { EXIT } from "../errors.js";
import { formsOf, nameOfUser } from "../filters.js";
import { Interrupted } from "../interrupt.js";
import { readRecords } from "../records.js";
import { printable } from "../terminal.js";
import { formatCount, formatTime, isoTime, parseCount } from "../units.js";

interface ListOptions {
  readonly limit?: number;
}

interface EndOptions {
  readonly dryRun?: boolean;
}

/** How often a session that is used at the moment is read again. */
const ATTEMPTS = 20;

/** `users`: who is signed in. */
export function addUsers(program: Command, current: Process): void {
  const users = program
    .command("users")
    .description("count sessions by user, list the sessions of a user, or end them")
    .argument("[user]", "list the sessions of this user; without it, count by user");
  onStore<ListOptions, [string | undefined]>(users, current, (run, user) =>
    user === undefined ? countByUser(run) : listUser(run, user),
  );
  examples(users, [
    "users",
    "users ada",
    "users end ada --dry-run",
    "users --store ./sessions.js ada --json",
  ]);

  const list = users
    .command("list")
    .description(
      "count the sessions of each user. Reads all records of the prefix, and holds all users in memory",
    )
    .option("--limit <count>", "only the users with the most sessions", parseCount);
  onStore<ListOptions, []>(list, current, countByUser);
  examples(list, ["users list --limit 10"]);

  const end = users
    .command("end")
    .description("destroy all sessions of a user")
    .argument("<user>")
    .option("-n, --dry-run", "only count the sessions");
  onStore<EndOptions, [string]>(end, current, endUser, { isChange: true });
  examples(end, ["users end ada", "users end ada --dry-run"]);
}

async function countByUser({ store, options, terminal, signal }: Run<ListOptions>): Promise<number> {
  const counts = new Map<string, number>();
  let anonymous = 0;
  await readRecords({ store, signal, terminal }, page => {
    for (const { state, user } of page) {
      if (state !== "live") continue;
      if (user === undefined) anonymous += 1;
      else counts.set(user, (counts.get(user) ?? 0) + 1);
    }
  });
  const sorted = [...counts].sort(([, one], [, other]) => other - one);
  for (const [user, sessions] of sorted.slice(0, options.limit)) {
    const name = nameOfUser(user);
    await terminal.result(
      { user: name, sessions },
      () => `${String(sessions).padStart(7)}  ${printable(name)}`,
    );
  }
  const isCut = options.limit !== undefined && sorted.length > options.limit;
  terminal.note(
    `${formatCount(counts.size, "user")}${isCut ? `, of which ${options.limit} are shown` : ""}; ${formatCount(anonymous, "session")} without a user`,
  );
  return EXIT.ok;
}

async function listUser({ store, terminal, signal }: Run<object>, user: string): Promise<number> {
  const { records } = internalsOf(store);
  let listed = 0;
  const show = async (id: { handle: string } | { sidHash: string }, ...times: [number, number, number]) => {
    const [createdAt, activeAt, expiresAt] = times;
    listed += 1;
    const value = {
      ...id,
      createdAt: isoTime(createdAt),
      activeAt: isoTime(activeAt),
      expiresAt: isoTime(expiresAt),
    };
    await terminal.result(
      value,
      () => `${Object.values(id)[0]?.padEnd(43)}  ${times.map(formatTime).join("  ")}`,
    );
  };
  const forms = formsOf(user, records.formsOfUser);
  if (!terminal.isJson) {
    const title = records.keepsUsers ? "HANDLE" : "SID HASH";
    await terminal.print(`${title.padEnd(43)}  ${"CREATED".padEnd(20)}  ${"LAST USED".padEnd(20)}  ENDS`);
  }
  if (records.keepsUsers) {
    for await (const { handle, createdAt, activeAt, expiresAt } of store.findByUser(user, { signal })) {
      await show({ handle }, Number(createdAt), Number(activeAt), Number(expiresAt));
    }
  } else {
    for await (const { sidHash, createdAt, activeAt, expiresAt } of recordsOf({ store, signal }, forms)) {
      await show({ sidHash }, createdAt, activeAt, expiresAt);
    }
  }
  terminal.note(`${formatCount(listed, "session")} of this user`);
  return EXIT.ok;
}

async function endUser({ store, options, terminal, signal }: Run<EndOptions>, user: string): Promise<number> {
  const { keepsUsers, formsOfUser, destroyByUser } = internalsOf(store).records;
  const forms = formsOf(user, formsOfUser);
  let matched = 0;
  let ended = 0;
  if (keepsUsers && options.dryRun) matched = await store.countByUser(user, { signal });
  else if (keepsUsers) {
    try {
      await destroyByUser(user, signal, count => {
        ended += count;
      });
    } catch (error) {
      if (!(error instanceof Interrupted)) throw error;
    }
    matched = ended;
  } else {
    if (!options.dryRun) {
      terminal.note(
        "The store has no option `user`, so all records are read. A sign-in during that may be missed: give a module whose store has the option to be sure.",
      );
    }
    for await (const record of recordsOf({ store, signal }, forms)) {
      matched += 1;
      if (!options.dryRun && (await end(store, record, forms))) ended += 1;
      if (signal.aborted) break;
    }
  }
  await terminal.result({ matched, destroyed: ended, dryRun: options.dryRun === true }, () =>
    options.dryRun
      ? `Would destroy ${formatCount(matched, "session")}.`
      : `Destroyed ${formatCount(ended, "session")}.`,
  );
  if (!signal.aborted) return EXIT.ok;
  terminal.note("Interrupted. Run the command again to go on.");
  return EXIT.interrupted;
}

/** The live records of a user, found by a scan. */
async function* recordsOf(
  { store, signal }: Pick<Run<object>, "store" | "signal">,
  forms: readonly string[],
) {
  for await (const page of internalsOf(store).records.all(signal)) {
    for (const record of page) {
      if (record.state === "live" && record.user !== undefined && forms.includes(record.user)) yield record;
    }
  }
}

/** Destroys a session also if it is used at the moment, but not if it has become that of another user. */
async function end(
  store: Run<object>["store"],
  record: SessionRecord,
  forms: readonly string[],
): Promise<boolean> {
  const { records } = internalsOf(store);
  let latest: SessionRecord | undefined = record;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (latest?.state !== "live" || latest.user === undefined || !forms.includes(latest.user)) return false;
    if (await records.remove(latest)) return true;
    const sid = records.sidOf(latest);
    latest = sid === undefined ? undefined : await records.find(sid);
  }
  throw new Error("A session of this user is saved all the time and could not be destroyed.");
}
