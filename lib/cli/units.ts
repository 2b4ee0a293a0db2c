import { InvalidArgumentError } from "commander";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const durations: Record<string, number> = { ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: DAY, w: 7 * DAY };
/** As etcd and DynamoDB count: a kilobyte has 1,024 bytes. */
const sizes: Record<string, number> = { b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 };

/** Milliseconds of `90s`, `15m`, `12h`, `30d`, `2w`. */
export function parseDuration(text: string): number {
  const [, count, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d|w)$/.exec(text) ?? [];
  if (unit === undefined) throw new InvalidArgumentError("Expected a duration such as 15m, 12h or 30d.");
  return Number(count) * (durations[unit] as number);
}

/** Bytes of `500`, `100KB`, `1.5MB`. */
export function parseSize(text: string): number {
  const [, count, unit = "b"] = /^(\d+(?:\.\d+)?)(b|kb|mb|gb)?$/i.exec(text) ?? [];
  if (count === undefined) throw new InvalidArgumentError("Expected a size such as 500, 100KB or 1MB.");
  return Number(count) * (sizes[unit.toLowerCase()] as number);
}

/** Epoch milliseconds of `2026-01-31`, which begins in UTC, or of `2026-01-31T12:00:00Z`. */
export function parseTime(text: string): number {
  const isTime = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2}))?$/.test(text);
  const day = text.slice(0, 10);
  // Date.parse takes the 31st of February for a day of March.
  const isDay = isTime && isoTime(Date.parse(day) || 0).startsWith(day);
  const time = isDay ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time)) {
    throw new InvalidArgumentError(
      "Expected a date such as 2026-01-31, or a time such as 2026-01-31T12:00Z.",
    );
  }
  return time;
}

export function parseCount(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError("Expected a positive integer.");
  return Number(text);
}

/** Such as `3 d`, with the largest unit of which there is at least one. */
export function formatDuration(ms: number): string {
  const units = [
    ["d", DAY],
    ["h", HOUR],
    ["min", MINUTE],
    ["s", SECOND],
  ] as const;
  for (const [name, size] of units) if (ms >= size) return `${formatNumber(ms / size)} ${name}`;
  return `${formatNumber(ms)} ms`;
}

/** Such as `1.4 KB`. */
export function formatSize(bytes: number): string {
  for (const unit of ["GB", "MB", "KB"]) {
    const size = sizes[unit.toLowerCase()] as number;
    if (bytes >= size) return `${formatNumber(bytes / size)} ${unit}`;
  }
  return `${bytes} B`;
}

/** One decimal below ten, none from there on. */
function formatNumber(value: number): string {
  return value < 9.95 ? String(Math.round(value * 10) / 10) : String(Math.round(value));
}

/** `1,234 sessions` */
export function formatCount(count: number, noun: string): string {
  return `${count.toLocaleString("en-US")} ${noun}${count === 1 ? "" : "s"}`;
}

/** In UTC, with seconds. */
export function formatTime(time: number): string {
  return `${isoTime(time).slice(0, 19)}Z`;
}

export function isoTime(time: number): string {
  return new Date(time).toISOString();
}
