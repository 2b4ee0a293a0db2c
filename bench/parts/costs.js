// The costs of page views: requests, capacity units of DynamoDB, leases and memory of etcd, bytes sent. The clock is
// mocked, so that no seconds have to pass. These costs are counted, not timed, so one round is enough.
import { readFileSync } from "node:fs";
import { mock } from "node:test";
import { startEtcd } from "../../scripts/engines.mjs";
import { measure } from "../lib/measure.js";
import { get, set } from "../lib/operations.js";
import { assertSession, inflate, MAX_AGE_MS, newSession, newSid } from "../lib/sessions.js";
import { figure, table } from "../lib/tables.js";
import { countCalls, dynamodbProxy, tcpProxy } from "../lib/traffic.js";

export const kinds = ["dynamodb", "etcd"];
export const title = "Costs of page views";

const USERS = 64;
const SECONDS = 1000;
const SESSIONS = 10_000;
const TOUCHES = 10;

export async function measurePart({ kind, stores, at }) {
  return kind === "dynamodb" ? await costsOfDynamoDB(stores, at) : await costsOfEtcd(stores, at);
}

async function touch(contender, sid, session) {
  await new Promise((done, fail) => contender.touch(sid, session, error => (error ? fail(error) : done())));
}

/** A request as express-session handles it. */
async function viewPage(contender, sid, writes) {
  const session = inflate(sid, contender.store, await get(contender, sid));
  if (!writes) return await touch(contender, sid, session);
  session.number += 1;
  session.check = `${sid}/${session.number}`;
  await set(contender, sid, session);
}

/** Each step of a visit, of one user at a time and of all users together. */
async function visits(contender, counted) {
  const sids = Array.from({ length: USERS }, newSid);
  const steps = {
    "signing in": sid => set(contender, sid, newSession(sid, contender.store)),
    "reading page": sid => viewPage(contender, sid, false),
    "writing page": sid => viewPage(contender, sid, true),
  };
  const results = {};
  const count = async (name, work) => {
    const before = { ...counted };
    await work();
    results[name] = Object.fromEntries(
      Object.entries(counted).map(([key, value]) => [key, (value - before[key]) / USERS]),
    );
  };
  const oneByOne = step => async () => {
    for (const sid of sids) await step(sid);
  };
  for (const [name, step] of Object.entries(steps)) {
    await count(name, oneByOne(step));
    if (name !== "signing in") await count(`${name}, ${USERS} together`, () => Promise.all(sids.map(step)));
  }
  for (const sid of sids) assertSession(await get(contender, sid), sid, 2);
  await count(
    "signing out",
    oneByOne(
      sid => new Promise((done, fail) => contender.destroy(sid, error => (error ? fail(error) : done()))),
    ),
  );
  if (await get(contender, sids[0])) throw new Error("not destroyed");
  return results;
}

async function costsOfDynamoDB({ contenders, limits }, at) {
  const proxy = await dynamodbProxy(at.dynamodb);
  const { counted } = proxy;
  const behind = { ...at, dynamodb: proxy.url };
  const during = async work => {
    const before = { ...counted };
    await work();
    return Object.fromEntries(Object.entries(counted).map(([key, value]) => [key, value - before[key]]));
  };
  const results = { steps: {}, seconds: {}, oneUnit: {}, reads: {} };
  for (const name of Object.keys(contenders).filter(each => !limits.includes(each))) {
    const contender = await contenders[name](behind, { now: () => Date.now() });
    results.steps[name] = await visits(contender, counted);
    results.seconds[name] = await thousandSeconds(contender, during);
    results.oneUnit[name] = await largestOfOneUnit(contender, during);
    await contender.close();
  }
  for (const consistentRead of [true, false]) {
    const contender = await contenders.ours(behind, { consistentRead });
    const sid = newSid();
    await set(contender, sid, newSession(sid, contender.store));
    const { readUnits } = await during(async () => assertSession(await get(contender, sid), sid, 0));
    results.reads[consistentRead] = readUnits;
    await contender.close();
  }
  proxy.close();
  return results;
}

/** One user views a reading page each second. */
async function thousandSeconds(contender, during) {
  const sid = newSid();
  await set(contender, sid, newSession(sid, contender.store));
  mock.timers.enable({ apis: ["Date"], now: Date.now() });
  try {
    const spent = await during(async () => {
      for (let second = 1; second <= SECONDS; second++) {
        mock.timers.setTime(Date.now() + 1000);
        await viewPage(contender, sid, false);
      }
    });
    assertSession(await get(contender, sid), sid, 0);
    // Whether the session lives as long as its owner was promised. A store that skips touches may end it early.
    mock.timers.setTime(Date.now() + MAX_AGE_MS - 1500);
    return { ...spent, wholeLife: Boolean(await get(contender, sid)) };
  } finally {
    mock.timers.reset();
  }
}

/** The most bytes of JSON in a session that costs one unit to write. */
async function largestOfOneUnit(contender, during) {
  const sid = newSid();
  const sessionOf = padding => {
    const { cookie } = newSession(sid, contender.store);
    return { cookie, padding: "x".repeat(padding) };
  };
  let fits = 0;
  let tooMuch = 1024;
  while (tooMuch - fits > 1) {
    const middle = Math.floor((fits + tooMuch) / 2);
    const { writeUnits } = await during(() => set(contender, sid, sessionOf(middle)));
    if (writeUnits <= 1) fits = middle;
    else tooMuch = middle;
  }
  return Buffer.byteLength(JSON.stringify(sessionOf(fits)));
}

async function costsOfEtcd({ contenders, newClient }, at) {
  const results = { steps: {}, touched: {} };
  const proxies = { etcd: await tcpProxy(at.etcd), redis: await tcpProxy(at.redis) };
  const behind = { etcd: proxies.etcd.url.replace("tcp:", "http:"), redis: proxies.redis.url };

  const ours = await contenders.ours(behind);
  countCalls(ours.client.kv, ["range", "put", "deleteRange", "txn"], proxies.etcd.counted);
  countCalls(ours.client.leaseClient, ["leaseGrant"], proxies.etcd.counted);
  results.steps.ours = await visits(ours, proxies.etcd.counted);
  await ours.close();

  const redis = await contenders["connect-redis"](behind);
  countCalls(redis.client, ["get", "set", "expire", "del"], proxies.redis.counted);
  results.steps["connect-redis"] = await visits(redis, proxies.redis.counted);
  await redis.close();
  for (const proxy of Object.values(proxies)) proxy.close();

  for (const name of ["ours", "raw etcd3"]) {
    const engine = await startEtcd();
    const fresh = { etcd: engine.endpoint };
    const contender = await contenders[name](fresh, { touchAfter: 0 });
    const ms = await touchAll(contender);
    const client = newClient(fresh);
    const { leases } = await client.leaseClient.leaseLeases();
    client.close();
    results.touched[name] = { leases: leases.length, ms, ...memoryOf(engine.process.pid) };
    await contender.close();
    await engine.stop();
  }
  return results;
}

/** Touches many sessions several times. Every touch is a write. */
async function touchAll(contender) {
  const sids = Array.from({ length: SESSIONS }, newSid);
  const sessions = sids.map(sid => newSession(sid, contender.store));
  const began = performance.now();
  const forAll = operation => measure(SESSIONS, 256, operation);
  await forAll((index, done) => contender.set(sids[index], sessions[index], done));
  for (let turn = 0; turn < TOUCHES; turn++) {
    await forAll((index, done) => {
      sessions[index].cookie.maxAge = MAX_AGE_MS;
      contender.touch(sids[index], sessions[index], done);
    });
  }
  const ms = performance.now() - began;
  for (let index = 0; index < SESSIONS; index += 100)
    assertSession(await get(contender, sids[index]), sids[index], 0);
  return ms;
}

function memoryOf(pid) {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const megabytes = name => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)[1]) / 1024;
  return { residentMB: megabytes("VmRSS"), peakMB: megabytes("VmHWM") };
}

function stepTable(steps, columns) {
  const names = Object.keys(Object.values(steps)[0]);
  return table(
    [
      "a page view",
      ...Object.keys(steps).map(name => `${name}: ${columns.map(([, label]) => label).join(", ")}`),
    ],
    names.map(step => [
      step,
      ...Object.values(steps).map(results => columns.map(([key]) => figure(results[step][key])).join(", ")),
    ]),
  );
}

export function report({ steps, seconds, oneUnit, reads, touched }) {
  if (touched) {
    return [
      stepTable(steps, [
        ["requests", "requests"],
        ["bytes", "bytes sent"],
      ]),
      table(
        [
          `${figure(SESSIONS)} sessions touched ${TOUCHES} times`,
          "leases",
          "etcd's resident memory, MB",
          "its peak",
          "seconds",
        ],
        Object.entries(touched).map(([name, { leases, residentMB, peakMB, ms }]) => [
          name,
          ...[leases, residentMB, peakMB, ms / 1000].map(figure),
        ]),
      ),
    ].join("\n\n");
  }
  return [
    stepTable(steps, [
      ["requests", "requests"],
      ["readUnits", "read units"],
      ["writeUnits", "write units"],
      ["bytes", "bytes sent"],
    ]),
    table(
      [
        `${figure(SECONDS)} page views in as many seconds`,
        "requests",
        "writes among them",
        "write units",
        "read units",
        "lives to its end",
        "bytes of JSON in one write unit",
      ],
      Object.entries(seconds).map(([name, results]) => [
        name,
        ...[results.requests, results.writes, results.writeUnits, results.readUnits].map(figure),
        results.wholeLife ? "yes" : "no",
        figure(oneUnit[name]),
      ]),
    ),
    `A get of ours: ${reads.true} read units, ${reads.false} with \`consistentRead: false\`.`,
  ].join("\n\n");
}
