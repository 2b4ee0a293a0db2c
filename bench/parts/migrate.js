// Changing the store of a running site: what each stage adds to a page view, the sessions per second of a copy, and the
// memory that a copy of 1,000,000 sessions needs.
import { createRequire } from "node:module";
import { measure, median, summary } from "../lib/measure.js";
import { fromStore, get, set } from "../lib/operations.js";
import { assertSession, inflate, newSession, newSid } from "../lib/sessions.js";
import { figure, table } from "../lib/tables.js";
import { dynamodbProxy } from "../lib/traffic.js";

export const kinds = ["memory", "file", "dynamodb", "etcd"];
export const title = "Changing the store";

const require = createRequire(import.meta.url);
const expressSession = require("../../node_modules/express-session");

const OPERATIONS_OF_STAGES = ["alone", "from", "from-first", "to-first", "to"];
const PAGES = 300;
const COPIED = { memory: 20_000, file: 20_000, dynamodb: 2_000, etcd: 20_000 };
const CONCURRENCY = 64;
const MANY = 1_000_000;

export async function measurePart({ kind, stores, at }) {
  const stages = await measureStages(kind, stores, at);
  const copies = {};
  for (const from of kinds) copies[from] = await measureCopy(from, kind, stores, at);
  const firstSaves = await measureFirstSaves(kind, stores, at);
  const memory = kind === "file" ? await measureMemory(stores, at) : undefined;
  return { stages, copies, firstSaves, memory };
}

const touch = (contender, sid, session) =>
  new Promise((done, fail) => contender.touch(sid, session, error => (error ? fail(error) : done())));

/**
 * Page views one after the other. The old store is in memory, so anything they add to it is the cost of the new store.
 */
async function measureStages(kind, stores, at) {
  const { MigratingStore } = require("../../dist/migrate.js");
  const proxy = kind === "dynamodb" ? await dynamodbProxy(at.dynamodb) : undefined;
  const counted = proxy?.counted ?? {};
  const results = {};
  for (const stage of OPERATIONS_OF_STAGES) {
    const { store: to, close } = await stores.contenders.ours({
      ...at,
      ...(proxy && { dynamodb: proxy.url }),
    });
    const from = new expressSession.MemoryStore();
    const contender = fromStore(stage === "alone" ? from : new MigratingStore({ from, to, stage }));
    const sids = Array.from({ length: PAGES }, newSid);
    for (const sid of sids) await set(contender, sid, newSession(sid, contender.store));
    const view = writes => async sid => {
      const session = inflate(sid, contender.store, await get(contender, sid));
      if (!writes) return await touch(contender, sid, session);
      session.number += 1;
      session.check = `${sid}/${session.number}`;
      await set(contender, sid, session);
    };
    results[stage] = {
      reading: await pages(sids, view(false), counted),
      writing: await pages(sids, view(true), counted),
    };
    for (const sid of sids) assertSession(await get(contender, sid), sid, 1);
    await close();
  }
  proxy?.close();
  return results;
}

async function pages(sids, view, counted) {
  const before = { ...counted };
  const times = [];
  for (const sid of sids) {
    const began = performance.now();
    await view(sid);
    times.push(performance.now() - began);
  }
  const traffic = Object.entries(counted).map(([name, value]) => [
    name,
    (value - before[name]) / sids.length,
  ]);
  return { ms: median(times), ...Object.fromEntries(traffic) };
}

async function measureCopy(fromKind, toKind, stores, at) {
  const { copy } = require("../../dist/migrate.js");
  const source = await import(`../stores/${fromKind}.js`);
  const engine = await source.start();
  const from = await source.contenders.ours(engine.at, { prefix: "from:" });
  const to = await stores.contenders.ours(at, { prefix: `copied-${newSid()}:` });
  const count = Math.min(COPIED[fromKind], COPIED[toKind]);
  const sids = Array.from({ length: count }, newSid);
  await measure(count, CONCURRENCY, (index, done) =>
    from.set(sids[index], newSession(sids[index], from.store), done),
  );
  const began = performance.now();
  const progress = await copy({ from: from.store, to: to.store, concurrency: CONCURRENCY });
  const ms = performance.now() - began;
  if (progress.copied !== count || progress.failed > 0) throw new Error(JSON.stringify(progress));
  for (const sid of sids) assertSession(await get(to, sid), sid, 0);
  await to.close();
  await from.close();
  await engine.stop();
  return { count, perSecond: count / (ms / 1000) };
}

/** The rate at which the backend accepts first saves with as many in flight. No copy is faster. */
async function measureFirstSaves(kind, stores, at) {
  const to = await stores.contenders.ours(at, { prefix: `saved-${newSid()}:` });
  const measured = await measure(COPIED[kind], CONCURRENCY, (_index, done) => {
    const sid = newSid();
    to.set(sid, newSession(sid, to.store), done);
  });
  await to.close();
  return summary([measured]).perSecond;
}

/** Uses small sessions, because only their number could fill the memory. */
async function measureMemory(stores, at) {
  const { copy } = require("../../dist/migrate.js");
  const from = await stores.contenders.ours(at);
  const to = await stores.contenders.ours(at);
  const session = () => ({ cookie: { originalMaxAge: 1_800_000 }, user: "ann" });
  await measure(MANY, 256, (_index, done) => from.set(newSid(), session(), done));
  globalThis.gc();
  const used = () => {
    const { heapUsed, external, arrayBuffers } = process.memoryUsage();
    return heapUsed + external + arrayBuffers;
  };
  const before = used();
  let most = 0;
  const began = performance.now();
  const progress = await copy({
    from: from.store,
    to: to.store,
    concurrency: 256,
    onProgress() {
      globalThis.gc();
      most = Math.max(most, used() - before);
    },
  });
  const seconds = (performance.now() - began) / 1000;
  if (progress.copied !== MANY || (await to.store.length()) !== MANY)
    throw new Error(JSON.stringify(progress));
  await from.close();
  await to.close();
  return { sessions: MANY, megabytes: most / 1e6, perSecond: MANY / seconds };
}

export function report({ stages, copies, firstSaves, memory }) {
  const traffic = ["requests", "readUnits", "writeUnits"].filter(name => name in stages.from.reading);
  const columns = pages => [figure(pages.ms * 1000), ...traffic.map(name => figure(pages[name]))];
  const names = [
    "us",
    ...traffic.map(
      name => ({ requests: "requests", readUnits: "read units", writeUnits: "write units" })[name],
    ),
  ];
  const stageTable = table(
    ["stage", ...names.map(name => `reading page: ${name}`), ...names.map(name => `writing page: ${name}`)],
    Object.entries(stages).map(([stage, { reading, writing }]) => [
      stage === "alone" ? "the old store alone" : stage,
      ...columns(reading),
      ...columns(writing),
    ]),
  );
  const copyTable = table(
    ["copied from", "sessions", "a second", "of the first saves that the backend takes"],
    Object.entries(copies).map(([from, { count, perSecond }]) => [
      from,
      figure(count),
      figure(perSecond),
      figure(perSecond / firstSaves),
    ]),
  );
  const memoryLine =
    memory === undefined
      ? ""
      : `\n\nA copy of ${figure(memory.sessions)} small sessions from one file to another: ${figure(memory.perSecond)} a second, at most ${figure(memory.megabytes)} MB more memory after a collection.`;
  return `${stageTable}\n\n${copyTable}${memoryLine}`;
}
