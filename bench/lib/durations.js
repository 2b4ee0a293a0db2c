// Estimates how long each part takes on two idle cores: the last duration on this machine, or else that of another
// machine.
import { existsSync, readFileSync } from "node:fs";
import { table } from "./tables.js";

/** The seconds that a part needs once, and for each round. */
const SECONDS = {
  operations: { memory: [12, 18], file: [14, 20], dynamodb: [16, 22], etcd: [16, 23] },
  http: { memory: [10, 7], file: [10, 7], dynamodb: [14, 8], etcd: [11, 7] },
  listings: { memory: [15, 12], file: [40, 20], dynamodb: [60, 30], etcd: [60, 6] },
  cleanup: { memory: [15, 6], file: [30, 8] },
  heap: { memory: [6, 6] },
  costs: { dynamodb: [60, 0], etcd: [60, 0] },
  burst: { memory: [5, 3], file: [8, 6], dynamodb: [8, 8], etcd: [6, 5] },
  cold: { memory: [2, 2], file: [3, 3], dynamodb: [4, 4], etcd: [3, 3] },
  allocations: { memory: [30, 0], file: [35, 0], dynamodb: [45, 0], etcd: [40, 0] },
  users: { memory: [30, 0], file: [60, 0], dynamodb: [60, 0], etcd: [30, 0] },
  migrate: { memory: [30, 0], file: [50, 0], dynamodb: [60, 0], etcd: [60, 0] },
  // At most three rounds.
  scale: { memory: [105, 0], file: [130, 0], dynamodb: [45, 0], etcd: [75, 0] },
  processes: { file: [30, 0], dynamodb: [40, 0], etcd: [35, 0] },
  features: { memory: [24, 24], file: [24, 24] },
};

/** @param file - of the last results */
export function secondsOf(part, kind, rounds, file) {
  const last = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
  if (last.rounds === rounds && last.seconds !== undefined) return last.seconds;
  const [once, eachRound] = SECONDS[part][kind];
  return once + eachRound * rounds;
}

/** @param planned - `{ part, kind, seconds }` of each planned measurement */
export function planTable(planned) {
  const kinds = [...new Set(planned.map(({ kind }) => kind))];
  const parts = [...new Set(planned.map(({ part }) => part))];
  const minutes = chosen => {
    const seconds = chosen.reduce((sum, each) => sum + each.seconds, 0);
    return chosen.length === 0 ? "" : (seconds / 60).toFixed(1);
  };
  const row = (name, chosen) => [
    name,
    ...kinds.map(kind => minutes(chosen.filter(each => each.kind === kind))),
    minutes(chosen),
  ];
  return table(
    ["about how many minutes", ...kinds, "all"],
    [
      ...parts.map(part =>
        row(
          part,
          planned.filter(each => each.part === part),
        ),
      ),
      row("all", planned),
    ],
  );
}
