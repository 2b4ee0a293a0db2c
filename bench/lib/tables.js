import { median } from "./measure.js";

/** Makes a table in Markdown. The first column is text, the others are numbers. */
export function table(head, rows) {
  const lines = [head, head.map((_name, column) => (column === 0 ? "---" : "---:")), ...rows];
  return lines.map(cells => `| ${cells.join(" | ")} |`).join("\n");
}

/** Formats a number with three significant digits, or with all its digits from 1,000 on. */
export function figure(value) {
  if (value === undefined || value === null || Number.isNaN(value)) return "–";
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

/** The median over rounds of a value of one contender. Undefined if the contender has none. */
export function middle(rounds, name, value) {
  const values = rounds.map(round => round[name] && value(round[name])).filter(Number.isFinite);
  return values.length > 0 ? median(values) : undefined;
}
