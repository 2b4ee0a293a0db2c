// Finding and ending the sessions of a user in stores of different sizes. The costs must depend on the number of the
// user's sessions, not on the store. Also what a sign-in costs in addition to the first save of an anonymous session.
import { startDynamoDBLocal } from "../../scripts/engines.mjs";
import { measure, percentile, summary } from "../lib/measure.js";
import { newSid } from "../lib/sessions.js";
import { figure, table } from "../lib/tables.js";

export const kinds = ["memory", "file", "dynamodb", "etcd"];
export const title = "Users";

const SIZES = {
  memory: [1000, 1_000_000],
  file: [1000, 1_000_000],
  dynamodb: [1000, 10_000],
  etcd: [1000, 100_000],
};
const SESSIONS_OF_A_USER = 5;
const USERS = 100;
const IN_FLIGHT = { memory: 256, file: 256, dynamodb: 32, etcd: 256 };

const user = session => session.user;

export async function measurePart({ kind, stores, at }) {
  const sizes = {};
  for (const size of SIZES[kind]) {
    const { store, close } =
      kind === "dynamodb" ? await openDynamoDB() : await stores.contenders.ours(at, { user });
    sizes[size] = await measureUsers(store, size, IN_FLIGHT[kind]);
    await close();
  }
  return { sizes };
}

/** DynamoDB Local, because dynalite has no transactions. */
async function openDynamoDB() {
  const engine = await startDynamoDBLocal();
  const { DynamoDBClient } = await import("@aws-sdk/client-dynamodb");
  const { DynamoDBStore } = await import("../../dist/dynamodb.js");
  const credentials = { accessKeyId: "bench", secretAccessKey: "bench" };
  const client = new DynamoDBClient({ endpoint: engine.endpoint, region: "eu-central-1", credentials });
  const store = new DynamoDBStore({ client, user, timeoutMs: 60_000 });
  await store.createTable();
  const close = async () => {
    await store.close();
    client.destroy();
    await engine.stop();
  };
  return { store, close };
}

async function measureUsers(store, size, inFlight) {
  const save = (name, done) =>
    store.set(
      newSid(),
      { cookie: { originalMaxAge: 1_800_000 }, ...(name && { user: name }), cart: "x".repeat(100) },
      done,
    );
  const users = size / SESSIONS_OF_A_USER;
  const filled = await measure(size, inFlight, (index, done) => save(`user-${index % users}`, done));
  const some = Array.from({ length: USERS }, (_, index) => `user-${Math.floor((index * users) / USERS)}`);
  const find = await each(some, async name => {
    let found = 0;
    for await (const { session } of store.findByUser(name)) {
      if (session.user !== name) throw new Error("a session of another user");
      found += 1;
    }
    if (found !== SESSIONS_OF_A_USER) throw new Error(`${found} sessions`);
  });
  const count = await each(some, name => store.countByUser(name));
  const signIns = await measure(USERS * 10, 16, (index, done) => save(`new-${index}`, done));
  const anonymous = await measure(USERS * 10, 16, (_index, done) => save(undefined, done));
  const destroy = await each(some, async name => {
    if ((await store.destroyByUser(name)) !== SESSIONS_OF_A_USER) throw new Error("not destroyed");
  });
  if ((await store.countByUser(some[0])) !== 0) throw new Error("not destroyed");
  return {
    filledPerSecond: summary([filled]).perSecond,
    find,
    count,
    destroy,
    signInsPerSecond: summary([signIns]).perSecond,
    anonymousPerSecond: summary([anonymous]).perSecond,
  };
}

/** The durations of calls, one after the other, in ms. */
async function each(names, work) {
  const times = [];
  for (const name of names) {
    const began = performance.now();
    await work(name);
    times.push(performance.now() - began);
  }
  return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) };
}

export function report({ sizes }) {
  const times = ({ p50, p99 }) => `${figure(p50)} (${figure(p99)})`;
  return table(
    [
      "sessions, 5 of each user",
      "findByUser: ms (p99)",
      "countByUser",
      "destroyByUser",
      "sign-ins a second",
      "anonymous first saves",
    ],
    Object.entries(sizes).map(([size, { find, count, destroy, signInsPerSecond, anonymousPerSecond }]) => [
      figure(Number(size)),
      times(find),
      times(count),
      times(destroy),
      figure(signInsPerSecond),
      figure(anonymousPerSecond),
    ]),
  );
}
