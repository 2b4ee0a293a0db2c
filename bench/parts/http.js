// An Express application under autocannon: a page that reads the session and one that writes it, relative to
// express-session's own MemoryStore in the same rounds. The stores have their default options.
import autocannon from "autocannon";
import { startChild } from "../lib/child.js";
import { interleave, ratio } from "../lib/measure.js";
import { figure, middle, table } from "../lib/tables.js";

export const kinds = ["memory", "file", "dynamodb", "etcd"];
export const title = "Page views";

export const REFERENCE = "express-session MemoryStore";
const PAGES = ["read", "write"];
const CONNECTIONS = 64;
const WARM_UP = 40 * CONNECTIONS;
const ROUND_S = 1;

const contenders = {
  memory: ["ours", "memorystore"],
  file: ["ours", "session-file-store"],
  dynamodb: ["ours", "connect-dynamodb"],
  etcd: ["ours", "connect-redis"],
};

export async function measurePart({ kind, at, rounds }) {
  const applications = {};
  try {
    for (const name of [REFERENCE, ...contenders[kind]]) {
      const server = startChild("server", { kind: name === REFERENCE ? "memory" : kind, name, at });
      applications[name] = { server, amounts: {} };
      applications[name].url = `http://127.0.0.1:${(await server.message()).port}`;
      const users = Array.from({ length: CONNECTIONS }, () => login(applications[name].url));
      applications[name].users = await Promise.all(users);
    }
    const measured = await interleave(Object.keys(applications), rounds, name =>
      viewPages(applications[name]),
    );
    return { rounds: measured };
  } finally {
    for (const { server } of Object.values(applications)) await server.stop();
  }
}

async function viewPages(application) {
  const { amounts } = application;
  const results = {};
  for (const page of PAGES) {
    results[page] = await view(application, page, amounts[page] ?? WARM_UP);
    // As many as fit into a round, according to the first one.
    const perConnection = Math.max(4, Math.round((results[page].perSecond * ROUND_S) / CONNECTIONS));
    amounts[page] ??= perConnection * CONNECTIONS;
  }
  return results;
}

async function login(url) {
  const response = await fetch(`${url}/login`);
  const check = await response.text();
  const [cookie] = response.headers.getSetCookie();
  if (!response.ok || !cookie) throw new Error(`no login: ${response.status} ${check}`);
  return { check, cookie: cookie.split(";")[0], number: 0 };
}

/** Sends `amount` requests. Each connection is a separate user, and every response is checked. */
async function view({ url, users }, page, amount) {
  const expected = { read: user => user.check, write: user => String(++user.number) };
  const latencies = [];
  const answered = [];
  let wrong;
  let connection = 0;
  const result = await autocannon({
    url,
    connections: CONNECTIONS,
    amount,
    sampleInt: 50,
    setupClient: client => {
      const user = users[connection++];
      client.setRequests([
        {
          method: "GET",
          path: `/${page}`,
          headers: { cookie: user.cookie },
          onResponse: (status, body) => {
            const right = expected[page](user);
            if (status !== 200 || body !== right) wrong ??= `${status} ${body}, expected ${right}`;
            answered.push(performance.now());
          },
        },
      ]);
      client.on("response", (_status, _bytes, ms) => latencies.push(ms));
    },
  });
  if (wrong !== undefined || answered.length !== amount || result.errors > 0) {
    throw new Error(`${url}/${page}: ${wrong ?? `${answered.length} of ${amount} answers`}`);
  }
  // Each user's session contains what that user's requests wrote.
  for (const { cookie, check, number } of users) {
    const again = await fetch(`${url}/stored`, { headers: { cookie } });
    const stored = await again.text();
    if (stored !== `${check} ${number}`) throw new Error(`stored: ${stored}, expected ${check} ${number}`);
  }
  latencies.sort((a, b) => a - b);
  // Excludes the time in which connections begin and end.
  const [first, last] = [0.1, 0.9].map(share => Math.floor(amount * share));
  return {
    perSecond: (last - first) / ((answered[last] - answered[first]) / 1000),
    p50: latencies[Math.floor(latencies.length * 0.5)],
    p99: latencies[Math.floor(latencies.length * 0.99)],
  };
}

export function pageRatio({ rounds }, page, theirs = REFERENCE) {
  return ratio(rounds, "ours", theirs, results => results[page].perSecond);
}

export function report(measured) {
  return table(
    [
      `${CONNECTIONS} connections`,
      ...PAGES.flatMap(page => [`${page}: pages a second (p50, p99 in ms)`, `${page} / MemoryStore`]),
    ],
    Object.keys(measured.rounds[0]).map(name => [
      name,
      ...PAGES.flatMap(page => {
        const of = key => figure(middle(measured.rounds, name, results => results[page][key]));
        return [
          `${of("perSecond")} (${of("p50")}, ${of("p99")})`,
          figure(ratio(measured.rounds, name, REFERENCE, results => results[page].perSecond)),
        ];
      }),
    ]),
  );
}
