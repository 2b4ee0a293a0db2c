// Each operation of a request, with 1, 16 and 64 in flight.
import { interleave, ratio } from "../lib/measure.js";
import { OPERATIONS, runOperations } from "../lib/operations.js";
import { figure, middle, table } from "../lib/tables.js";

export const kinds = ["memory", "file", "dynamodb", "etcd"];
export const title = "Operations of a request";

const IN_FLIGHT = [1, 16, 64];
const WARM_UP_ROUNDS = 2;

export async function measurePart({ stores, at, rounds }) {
  const { contenders } = stores;
  const names = Object.keys(contenders);
  const run = inFlight => async name => {
    const contender = await contenders[name](at, { touchAfter: 0 });
    const results = await runOperations(contender, inFlight);
    await contender.close();
    return results;
  };
  await interleave(names, WARM_UP_ROUNDS, run(Math.max(...IN_FLIGHT)), { warmUp: false });
  const levels = {};
  for (const inFlight of IN_FLIGHT)
    levels[inFlight] = await interleave(names, rounds, run(inFlight), { warmUp: false });
  return { levels };
}

/** The median of the ratios of ours to theirs, in operations per second. */
export function operationRatio({ levels }, inFlight, operation, theirs) {
  return ratio(levels[inFlight], "ours", theirs, results => results[operation].perSecond);
}

export function contendersOf({ levels }) {
  return Object.keys(levels[1][0]);
}

export function report(measured) {
  const levels = Object.keys(measured.levels);
  const names = contendersOf(measured);
  const rates = OPERATIONS.map(operation =>
    table(
      [operation, ...levels.map(level => `${level} in flight: a second (p50, p99 in ms)`)],
      names.map(name => [
        name,
        ...levels.map(level => {
          const of = key => figure(middle(measured.levels[level], name, results => results[operation][key]));
          return `${of("perSecond")} (${of("p50")}, ${of("p99")})`;
        }),
      ]),
    ),
  );
  const columns = OPERATIONS.flatMap(operation => levels.map(level => [operation, level]));
  const ratios = table(
    ["ours / theirs", ...columns.map(([operation, level]) => `${operation}, ${level}`)],
    names
      .filter(name => name !== "ours")
      .map(name => [
        name,
        ...columns.map(([operation, level]) => figure(operationRatio(measured, level, operation, name))),
      ]),
  );
  return [...rates, ratios].join("\n\n");
}
