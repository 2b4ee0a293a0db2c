import { median, ratio } from "./measure.js";

function table(head, rows) {
  const lines = [head, head.map((_name, column) => (column === 0 ? "---" : "---:")), ...rows];
  return lines.map(cells => `| ${cells.join(" | ")} |`).join("\n");
}

const round = (value, digits) => value.toFixed(digits);

/** Operations a second and latencies of each contender, by operations in flight. */
export function rateTable(measured, operation) {
  const levels = Object.keys(measured);
  const names = Object.keys(measured[levels[0]][0]);
  const head = [operation, ...levels.map(level => `${level} in flight: a second (p50, p99 in ms)`)];
  const rows = names.map(name => [
    name,
    ...levels.map(level => {
      const of = key => median(measured[level].map(results => results[name][operation][key]));
      return `${round(of("perSecond"), 0)} (${round(of("p50"), 3)}, ${round(of("p99"), 3)})`;
    }),
  ]);
  return table(head, rows);
}

/** How many times as many operations a second ours does, by operations in flight. */
export function ratioTable(measured, operations) {
  const levels = Object.keys(measured);
  const others = Object.keys(measured[levels[0]][0]).filter(name => name !== "ours");
  const head = [
    "ours / theirs",
    ...operations.flatMap(operation => levels.map(level => `${operation}, ${level}`)),
  ];
  const rows = others.map(name => [
    name,
    ...operations.flatMap(operation =>
      levels.map(level =>
        round(
          ratio(measured[level], "ours", name, results => results[operation].perSecond),
          2,
        ),
      ),
    ),
  ]);
  return table(head, rows);
}
