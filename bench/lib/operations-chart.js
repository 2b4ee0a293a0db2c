// The chart of our operations per second relative to each other contender, with 64 in flight.
import { contendersOf, operationRatio } from "../parts/operations.js";
import { OPERATIONS } from "./operations.js";
import { svg, text } from "./svg.js";
import { figure } from "./tables.js";

const IN_FLIGHT = 64;
const NAMES = 210;
const CELL = 130;
const BAR = 92;
const ROW = 20;
const HEAD = 62;
/** The axis is logarithmic, from a quarter to 64 times. */
const [LOW, HIGH] = [0.25, 64];

const BETTER = "#1a7f5a";
const WORSE = "#b35900";

function position(ratio) {
  const bounded = Math.min(HIGH, Math.max(LOW, ratio));
  return (Math.log(bounded / LOW) / Math.log(HIGH / LOW)) * BAR;
}

/** @param operations - the results of the part `operations`, by kind of store */
export function operationsChart(operations) {
  const parts = [];
  let y = HEAD;
  for (const [kind, measured] of Object.entries(operations)) {
    y += 8;
    for (const name of contendersOf(measured)) {
      const isHead = name === "ours";
      parts.push(text(isHead ? 12 : 24, y + 14, isHead ? kind : name, isHead ? 'font-weight="bold"' : ""));
      for (const [column, operation] of OPERATIONS.entries()) {
        if (isHead) continue;
        const ratio = operationRatio(measured, IN_FLIGHT, operation, name);
        const left = NAMES + column * CELL;
        const [from, to] = [position(1), position(ratio)].sort((a, b) => a - b);
        const color = ratio >= 1 ? BETTER : WORSE;
        parts.push(
          `<rect x="${(left + from).toFixed(1)}" y="${y + 4}" width="${Math.max(1, to - from).toFixed(1)}" height="12" fill="${color}"/>`,
          text(left + Math.max(to, position(1)) + 4, y + 14, figure(ratio), 'font-size="10"'),
        );
      }
      y += ROW;
    }
  }
  const height = y + 14;
  const width = NAMES + OPERATIONS.length * CELL + 12;
  const axis = OPERATIONS.flatMap((operation, column) => {
    const left = NAMES + column * CELL;
    return [
      text(left + position(1), HEAD - 18, operation, 'font-weight="bold" text-anchor="middle"'),
      ...[1, 4, 16].flatMap(tick => {
        const x = (left + position(tick)).toFixed(1);
        return [
          `<line x1="${x}" y1="${HEAD}" x2="${x}" y2="${height - 10}" stroke="${tick === 1 ? "#57606a" : "#d8dee4"}"/>`,
          text(Number(x), HEAD - 4, `${tick}×`, 'font-size="9" fill="#57606a" text-anchor="middle"'),
        ];
      }),
    ];
  });
  return svg(
    width,
    height,
    `Operations a second of express-session-stores relative to others, ${IN_FLIGHT} in flight`,
    [
      text(
        12,
        22,
        `Operations a second, ours / theirs, ${IN_FLIGHT} in flight (logarithmic; right of 1× ours is faster)`,
      ),
      ...axis,
      ...parts,
    ],
  );
}
