// Charts of curves: rates against the number of sessions or of processes, with a panel for each kind of store. Both
// axes are logarithmic. The charts are designed for a width of 720 pixels.
import * as processes from "../parts/processes.js";
import * as scale from "../parts/scale.js";
import { escaped, svg, text } from "./svg.js";

const WIDTH = 720;
const HEAD = 54;
/** The heights of a panel's parts: a line of its legend, its plot, and the labels below. */
const LEGEND_LINE = 15;
const PLOT = 130;
const BELOW = 36;
const LEFT = 46;
const GAP = 12;

const OURS = "#1a7f5a";
const PEERS = ["#b35900", "#0550ae"];
const GRID = "#d8dee4";
const QUIET = "#57606a";

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** Returns 1, 2 and 5 times the powers of ten, or only the powers if that would be too many. */
function ticksBetween(low, high) {
  const factors = high / low > 300 ? [1] : [1, 2, 5];
  const ticks = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
    ticks.push(...factors.map(factor => factor * power).filter(tick => tick >= low && tick <= high));
  }
  return ticks;
}

function scaleOf([low, high], from, to) {
  return value => from + (Math.log(value / low) / Math.log(high / low)) * (to - from);
}

/** Draws the curves of one panel, with `title`, `lines` of `{ name, points, color, isDashed }`, and its place. */
function panel({ title, lines, xTicks }, left, top, width) {
  const names = [...new Map(lines.map(line => [line.name, line])).values()];
  const plotTop = top + 10 + (names.length + 1) * LEGEND_LINE;
  const values = lines.flatMap(({ points }) => points.map(([, y]) => y));
  const high = Math.max(...values) * 1.4;
  // At least a power of ten, so that small differences look small.
  const yRange = [Math.min(Math.min(...values) / 1.4, high / 10), high];
  const x = scaleOf([xTicks[0], xTicks.at(-1)], left + LEFT, left + width - 14);
  const y = scaleOf(yRange, plotTop + PLOT, plotTop);
  const parts = [text(left + 8, top + 8, title, 'font-weight="bold"')];
  for (const [index, { name, color }] of names.entries()) {
    const at = top + 8 + (index + 1) * LEGEND_LINE;
    parts.push(
      `<line x1="${left + 8}" y1="${at - 4}" x2="${left + 26}" y2="${at - 4}" stroke="${color}" stroke-width="3"/>`,
      text(left + 32, at, name, `fill="${color}"`),
    );
  }
  for (const tick of ticksBetween(...yRange)) {
    const at = y(tick).toFixed(1);
    parts.push(
      `<line x1="${left + LEFT}" y1="${at}" x2="${left + width - 14}" y2="${at}" stroke="${GRID}"/>`,
      text(
        left + LEFT - 5,
        (Number(at) + 4).toFixed(1),
        short.format(tick),
        `font-size="11" fill="${QUIET}" text-anchor="end"`,
      ),
    );
  }
  for (const tick of xTicks) {
    const at = x(tick).toFixed(1);
    parts.push(
      `<line x1="${at}" y1="${plotTop}" x2="${at}" y2="${plotTop + PLOT}" stroke="${GRID}"/>`,
      text(
        Number(at),
        plotTop + PLOT + 14,
        short.format(tick),
        `font-size="11" fill="${QUIET}" text-anchor="middle"`,
      ),
    );
  }
  for (const { name, points, color, isDashed } of lines) {
    const path = points.map(([px, py]) => `${x(px).toFixed(1)},${y(py).toFixed(1)}`);
    const dash = isDashed ? ' stroke-dasharray="5 4"' : "";
    parts.push(
      `<polyline points="${path.join(" ")}" fill="none" stroke="${color}" stroke-width="2"${dash}/>`,
      ...path.map(point => {
        const [cx, cy] = point.split(",");
        return `<circle cx="${cx}" cy="${cy}" r="3" fill="${color}"><title>${escaped(name)}</title></circle>`;
      }),
    );
  }
  return { parts, bottom: plotTop + PLOT + BELOW };
}

/** Draws a chart of rows of panels. */
function curves(title, subtitle, rows) {
  const parts = [
    text(12, 22, title, 'font-weight="bold" font-size="13"'),
    text(12, 40, subtitle, `fill="${QUIET}"`),
  ];
  let top = HEAD + 10;
  for (const row of rows) {
    const width = (WIDTH - 2 * GAP) / Math.max(...rows.map(({ length }) => length));
    const drawn = row.map((each, column) => panel(each, GAP + column * width, top, width));
    parts.push(...drawn.flatMap(each => each.parts));
    top = Math.max(...drawn.map(({ bottom }) => bottom)) + 8;
  }
  return svg(WIDTH, top - 8, title, parts);
}

/** Gives each contender a color: ours first, then the peers. */
function colored(names) {
  return names.map((name, index) => ({ name, color: index === 0 ? OURS : PEERS[index - 1] }));
}

const titleOf = kind => (kind === "dynamodb" ? "dynamodb (dynalite)" : kind);

/** @param results - of the part `scale`, by kind of store */
export function scaleChart(results) {
  const rows = Object.entries(results).map(([kind, measured]) => {
    const sizes = Object.keys(measured.sizes).map(Number);
    return scale.TIMED.map(operation => ({
      title: `${titleOf(kind)}: ${operation === "get" ? "get" : "save of a loaded session"}`,
      xTicks: sizes,
      lines: colored(scale.contendersOf(measured)).flatMap(line =>
        [64, 1].map(inFlight => ({
          ...line,
          isDashed: inFlight === 1,
          points: sizes
            .map(size => [
              size,
              scale.scaleValue(measured, size, inFlight, line.name, operation, "perSecond"),
            ])
            .filter(([, value]) => value !== undefined),
        })),
      ),
    }));
  });
  return curves(
    "Operations a second by the number of stored sessions",
    "Solid: 64 in flight. Dashed: one at a time. Both axes are logarithmic.",
    rows,
  );
}

/** @param results - of the part `processes`, by kind of store */
export function processesChart(results) {
  const panels = Object.entries(results).map(([kind, measured]) => ({
    title: titleOf(kind),
    xTicks: processes.PROCESSES,
    lines: colored(processes.contendersOf(measured)).map(line => ({
      ...line,
      points: processes.PROCESSES.map(count => [
        count,
        processes.processesValue(measured, count, line.name, "perSecond"),
      ]),
    })),
  }));
  return curves(
    "Requests a second by the number of processes",
    "All processes together, 16 requests in flight in each. Both axes are logarithmic.",
    [panels],
  );
}
