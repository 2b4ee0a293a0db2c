import type { Command } from "commander";
import { internalsOf } from "../../core/abstract-store.js";
import type { SessionRecord } from "../../core/session-records.js";
import { examples, onStore, type Process } from "../command.js";
import { EXIT, Failure } from "../errors.js";
import { nameOfUser } from "../filters.js";
import { findRecords } from "../records.js";
import { printable, toJson } from "../terminal.js";
import { formatDuration, formatSize, formatTime } from "../units.js";
import { summaryOf } from "./list.js";

interface ShowOptions {
  readonly showSids?: boolean;
  readonly showValues?: boolean;
}

const reasons: Record<Exclude<SessionRecord["state"], "live">, string> = {
  ended: "The session has ended.",
  destroyed: "The session was destroyed.",
  unreadable:
    "The record of the session cannot be read: another version or another encryption key wrote it, or it is damaged.",
};

/** `show`: one session, without its values unless they are asked for. */
export function addShow(program: Command, current: Process): void {
  const command = program
    .command("show")
    .description("show one session: its times, and its keys with their types")
    .argument("<sid>", "id of the session, or the digest that listings and events show (needs a scan)")
    .option("--show-values", "show what the session holds")
    .option("--show-sids", "show the id, which is a credential");
  onStore<ShowOptions, [string]>(command, current, async ({ store, options, terminal, signal }, id) => {
    const { records, now } = internalsOf(store);
    const record = (await findRecords(store, [id], signal)).get(id);
    if (record === undefined) throw new Failure("There is no such session.");
    if (record.state !== "live") throw new Failure(reasons[record.state]);
    const session = await records.decode(record);
    if (session === null) throw new Failure(reasons.unreadable);
    const sid = options.showSids ? (records.sidOf(record) ?? null) : undefined;
    const content = options.showValues ? { session } : { keys: typesOf(session) };
    const value = { ...summaryOf(record), ...(sid !== undefined && { sid }), ...content };
    await terminal.result(value, () => {
      const time = now();
      const entries = Object.entries(options.showValues ? session : typesOf(session));
      const lines = entries.map(
        ([key, shown]) =>
          [printable(key), options.showValues ? toJson(shown) : printable(String(shown))] as const,
      );
      const width = Math.max(...lines.map(([key]) => key.length));
      return [
        `sid hash   ${record.sidHash}`,
        ...(sid === undefined ? [] : [`sid        ${printable(String(sid))}`]),
        `user       ${record.user === undefined ? "-" : printable(nameOfUser(record.user))}`,
        `size       ${formatSize(record.bytes)}`,
        `created    ${formatTime(record.createdAt)}, ${formatDuration(Math.max(0, time - record.createdAt))} ago`,
        `last used  ${formatTime(record.activeAt)}, ${formatDuration(Math.max(0, time - record.activeAt))} ago`,
        `ends       ${formatTime(record.expiresAt)}, ${formatDuration(record.lifetime)} after its last use`,
        options.showValues ? "values" : "keys",
        ...lines.map(([key, shown]) => `  ${key.padEnd(width)}  ${shown}`),
      ].join("\n");
    });
    return EXIT.ok;
  });
  examples(command, [
    "show 8vHJt1fUUnYpW6lwy3tW1rGhCO_dSIuM9RhlLmxEJbs",
    "show 8vHJt1fUUnYpW6lwy3tW1rGhCO_dSIuM9RhlLmxEJbs --show-values --json",
  ]);
}

function typesOf(session: object): Record<string, string> {
  return Object.fromEntries(Object.entries(session).map(([key, value]) => [key, typeOf(value)]));
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return `array (${value.length})`;
  if (typeof value === "string") return `string (${value.length})`;
  if (typeof value !== "object") return typeof value;
  const name = value.constructor?.name ?? "object";
  return name === "Object" ? `object (${Object.keys(value).length})` : name;
}
