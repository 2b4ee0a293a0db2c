import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { Pool } from "pg";
import { DynamoDBStore } from "../../lib/dynamodb.js";
import { dynaliteClient } from "../helpers/engines/engines.js";
import { type CodeBlock, documents, root } from "./markdown.js";

/*
 * The guides of docs/migrating, followed to the letter with the built package. Their files are written into a folder. A
 * process for each stage visits sessions through them, and their command runs before the last stage.
 */

const run = promisify(execFile);
const GUIDES = documents().filter(({ path }) => path.startsWith("docs/migrating/"));

/** Runs in a separate process for each stage. Creates or changes a session, and prints its content. */
const VISIT = `
const { promisify } = require("node:util");
const store = require("./sessions.js");
const [sid, key] = process.argv.slice(2);
const [get, set] = [promisify(store.get.bind(store)), promisify(store.set.bind(store))];
(async () => {
  // A client may still be connecting.
  const found = await get(sid).catch(() => new Promise(done => setTimeout(done, 500)).then(() => get(sid)));
  const session = found ?? { cookie: { originalMaxAge: 600000, expires: new Date(Date.now() + 600000) } };
  if (key !== undefined) await set(sid, Object.assign(session, { [key]: true }));
  const { cookie, __lastAccess, updated, ...fields } = (await get(sid)) ?? {};
  console.log(JSON.stringify(Object.keys(fields).sort()));
  process.exit();
})();`;

let folder: string;
beforeAll(() => {
  mkdirSync(join(root, ".data"), { recursive: true });
  folder = mkdtempSync(join(root, ".data", "guides-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));

const guideBlocks = (blocks: readonly CodeBlock[]) =>
  blocks.filter(({ marks }) => marks[0] === "run" && marks[1] === "guide");

/** The settings that point the programs of a guide to a separate old store. */
async function openOldStore(
  guide: string,
): Promise<{ env: Record<string, string>; close(): Promise<unknown> }> {
  const nothing = { env: {}, close: async () => {} };
  switch (guide) {
    case "connect-redis":
      // A separate database, because the guide uses the default prefix.
      return { ...nothing, env: { REDIS_URL: `${process.env.REDIS_URL}/7` } };
    case "connect-pg-simple": {
      const pool = new Pool({ connectionString: process.env.POSTGRES_URL ?? "" });
      const schema = `guide_${randomUUID().replaceAll("-", "")}`;
      await pool.query(`CREATE SCHEMA ${schema}`);
      const close = async () => {
        await pool.query(`DROP SCHEMA ${schema} CASCADE`);
        await pool.end();
      };
      return {
        env: { POSTGRES_URL: process.env.POSTGRES_URL ?? "", PGOPTIONS: `-c search_path=${schema}` },
        close,
      };
    }
    case "connect-dynamodb":
    case "dynamodb-store": {
      const client = dynaliteClient();
      const tableName = guide === "connect-dynamodb" ? "sessions" : "old-sessions";
      const id = guide === "connect-dynamodb" ? "id" : "sessionId";
      await new DynamoDBStore({ client, tableName, attributes: { id } }).createTable();
      const env = {
        AWS_ENDPOINT_URL_DYNAMODB: process.env.DYNALITE_ENDPOINT ?? "",
        AWS_REGION: "us-east-1",
        AWS_ACCESS_KEY_ID: "local",
        AWS_SECRET_ACCESS_KEY: "local",
        AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE: "1",
      };
      return { env, close: async () => client.destroy() };
    }
    default:
      return nothing;
  }
}

const followed = GUIDES.filter(({ blocks }) =>
  guideBlocks(blocks).some(({ marks }) => marks[2] === "sessions.js"),
);

describe.each(followed.map(guide => [guide.path, guide] as const))("%s", (path, { blocks }) => {
  const name = /(\w[\w-]*)\.md$/.exec(path)?.[1] as string;

  it("takes a site from its old store to the new one, with every session", async () => {
    const place = mkdtempSync(join(folder, `${name}-`));
    const { env, close } = await openOldStore(name);
    const settings = { ...process.env, ...env, SESSION_STORE: "file:./data/sessions.lmdb" };
    const command = (file: string, args: string[], stage: string) =>
      run(file, args, { cwd: place, env: { ...settings, SESSION_STAGE: stage } });
    const visit = async (stage: string, ...args: string[]): Promise<string[]> => {
      const { stdout } = await command(process.execPath, ["visit.js", ...args], stage);
      return JSON.parse(stdout.trim().split("\n").at(-1) as string);
    };
    writeFileSync(join(place, "visit.js"), VISIT);
    let copyCommand = "";
    for (const { code, marks } of guideBlocks(blocks)) {
      if (marks[2] === "copy") copyCommand = code.trim();
      else writeFileSync(join(place, marks[2] as string), code);
    }
    try {
      expect(await visit("from", "visited", "one")).toEqual(["one"]);
      expect(await visit("from", "left", "one")).toEqual(["one"]);
      expect(await visit("from-first", "visited", "two")).toEqual(["one", "two"]);
      expect(await visit("to-first", "visited", "three")).toEqual(["one", "three", "two"]);
      const [program, ...args] = copyCommand.replace("$SESSION_STORE", settings.SESSION_STORE).split(/\s+/);
      expect([program, args[0]]).toEqual(["npx", "express-session-stores"]);
      // npx would look for the package in node_modules.
      const cli = join(root, "dist/cli.js");
      const rest = args.slice(1).map(each => each.replaceAll('"', ""));
      const { stdout } = await command(process.execPath, [cli, ...rest], "to-first");
      expect(stdout).toMatch(/1 copied/);
      expect(stdout).toMatch(/0 failed/);
      expect(await visit("to", "visited", "four")).toEqual(["four", "one", "three", "two"]);
      expect(await visit("to", "left")).toEqual(["one"]);
      expect(await visit("to-first", "left", "back")).toEqual(["back", "one"]);
      expect(await visit("from-first", "left")).toEqual(["back", "one"]);
      expect(await visit("from", "left")).toEqual(["back", "one"]);
    } finally {
      await close();
    }
  });
});

it("a process whose sessions are in memory copies them when it is stopped", async () => {
  const guide = GUIDES.find(({ path }) => path.endsWith("/memory.md"));
  const [block] = guideBlocks(guide?.blocks ?? []);
  const place = mkdtempSync(join(folder, "memory-"));
  writeFileSync(join(place, "last-words.js"), (block as CodeBlock).code);
  writeFileSync(
    join(place, "app.js"),
    `const { createServer } = require("node:http");
    const { MemoryStore } = require("express-session");
    const store = new MemoryStore();
    const server = createServer();
    require("./last-words.js")(store, server);
    store.set("sid", { cookie: { originalMaxAge: 600000, expires: new Date(Date.now() + 600000) }, user: "ann" });
    server.listen(0, "127.0.0.1", () => process.kill(process.pid, "SIGTERM"));`,
  );
  const env = { ...process.env, SESSION_STORE: "file:./sessions.lmdb" };
  const { stderr } = await run(process.execPath, ["app.js"], { cwd: place, env });
  expect(stderr).toContain("1 sessions were copied, 0 were not");
});

it("the code that no engine here can run is at least JavaScript", async () => {
  const unrun = GUIDES.flatMap(({ blocks }) => blocks).filter(({ marks }) => marks[1] === "syntax");
  expect(unrun.length).toBeGreaterThan(0);
  for (const { code } of unrun) {
    const file = join(mkdtempSync(join(folder, "syntax-")), "code.js");
    writeFileSync(file, code);
    await run(process.execPath, ["--check", file], { cwd: dirname(file) });
  }
});
