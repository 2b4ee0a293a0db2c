import type { Command } from "commander";
import { internalsOf } from "../../core/abstract-store.js";
import type { SessionRecord } from "../../core/session-records.js";
import { examples, onStore, type Process } from "../command.js";
import { EXIT } from "../errors.js";
import { type FilterOptions, filterOf, filterOptions, nameOfUser } from "../filters.js";
import { warnIfNoUsers } from "../records.js";
import { printable, toJson } from "../terminal.js";
import { formatSize, formatTime, isoTime, parseCount } from "../units.js";

interface ListOptions extends FilterOptions {
  readonly showSids?: boolean;
  readonly limit?: number;
}

const HASH_WIDTH = 43;

/** `list`: the live sessions, one a line. */
export function addList(program: Command, current: Process): void {
  const command = filterOptions(program.command("list"))
    .description("list the live sessions. Reads all records of the prefix")
    .option("--limit <count>", "stop after so many sessions", parseCount)
    .option("--show-sids", "show the ids, which are credentials");
  onStore<ListOptions, []>(command, current, async ({ store, options, terminal, signal }) => {
    const { records } = internalsOf(store);
    const matches = filterOf(store, options);
    const { limit = Number.POSITIVE_INFINITY, showSids } = options;
    const lineOfRecord = (record: SessionRecord) => {
      const sid = showSids ? records.sidOf(record) : undefined;
      const value = { ...summaryOf(record), ...(showSids && { sid: sid ?? null }) };
      return terminal.isJson ? toJson(value) : rowOf(record, sid);
    };
    let listed = 0;
    let isCut = false;
    const titles = ["SID HASH", "SIZE", "CREATED", "LAST USED", "ENDS"];
    if (!terminal.isJson) await terminal.print(lineOf(titles, "USER", showSids ? "SID" : undefined));
    try {
      for await (const page of records.all(signal)) {
        const chosen = page.filter(matches);
        const shown = chosen.slice(0, limit - listed);
        listed += shown.length;
        // A write for each line would take most of the time.
        if (shown.length > 0) await terminal.print(shown.map(lineOfRecord).join("\n"));
        signal.throwIfAborted();
        isCut = shown.length < chosen.length;
        if (isCut) break;
      }
    } catch (error) {
      if (signal.aborted) terminal.note(`Interrupted after ${listed} listed.`);
      throw error;
    }
    await warnIfNoUsers(options, { store, terminal, signal });
    terminal.note(`${listed} listed${isCut ? ", and there are more" : ""}`);
    return EXIT.ok;
  });
  examples(command, [
    "list",
    "list --user ada --json",
    "list --idle 30d --larger 100KB",
    "list --store ./sessions.js --created-before 2026-01-01 --limit 20",
  ]);
}

/** What is shown of a session that is not decoded. */
export function summaryOf({ sidHash, user, bytes, createdAt, activeAt, expiresAt, lifetime }: SessionRecord) {
  return {
    sidHash,
    user: user === undefined ? null : nameOfUser(user),
    bytes,
    createdAt: isoTime(createdAt),
    activeAt: isoTime(activeAt),
    expiresAt: isoTime(expiresAt),
    lifetimeMs: lifetime,
  };
}

function rowOf(record: SessionRecord, sid: string | undefined): string {
  const { sidHash, bytes, createdAt, activeAt, expiresAt, user } = record;
  const fields = [
    sidHash,
    formatSize(bytes),
    formatTime(createdAt),
    formatTime(activeAt),
    formatTime(expiresAt),
  ];
  return lineOf(fields, user === undefined ? "-" : printable(nameOfUser(user)), sid && printable(sid));
}

function lineOf(
  [hash = "", size = "", created = "", used = "", ends = ""]: string[],
  user: string,
  sid?: string,
): string {
  const times = [created, used, ends].map(time => time.padEnd(20)).join("  ");
  return `${hash.padEnd(HASH_WIDTH)}  ${size.padStart(8)}  ${times}  ${user}${sid === undefined ? "" : `  ${sid}`}`;
}
