import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { type Options as SwcOptions, transformSync } from "@swc/core";
import type { FileStore as BuiltFileStore } from "../../lib/file.js";
import { type CodeBlock, documents, root } from "./markdown.js";

/*
 * Tests the code in the documents with the built package, which `npm test` builds first. TypeScript compiles it under
 * `strict`. JavaScript is compiled too, but its parameters need no types. A block with the mark `<!-- test: run ...
 * -->` is also run.
 */

const run = promisify(execFile);
const blocks = documents().flatMap(document => document.blocks);

/** Names that blocks use without declaring them, because the text around them does. */
const SURROUNDINGS = `
declare const app: import("express").Express;
declare const req: import("express").Request;
declare const server: import("node:http").Server;
declare const sid: string;
declare const dynamodb: import("@aws-sdk/client-dynamodb").DynamoDBClient;
declare const client: { destroy(): void };
declare const store: import("express-session-stores/dynamodb").DynamoDBStore;
declare const oldStore: import("express-session").MemoryStore;
declare function createClient(): { connect(): Promise<void>; close(): Promise<void> };
declare const RedisStore: new (options: object) => import("express-session-stores").AbstractStore;
`;

/** The values of these names, for blocks that are run. */
const VALUES = `
const express = require("express");
const { MemoryStore } = require("express-session-stores/memory");
const { DynamoDBClient } = require("@aws-sdk/client-dynamodb");
const values = {
  app: express(),
  req: { session: {}, sessionID: "sid" },
  server: require("node:http").createServer(),
  sid: "sid",
  dynamodb: new DynamoDBClient({ region: "eu-west-1" }),
  client: { destroy() {} },
  store: Object.assign(new MemoryStore({ user: session => session.user }), { createTable: async () => {} }),
  oldStore: new (require("express-session").MemoryStore)(),
};
`;

const NAMES = "app, req, server, sid, dynamodb, client, store, oldStore";

const SETTINGS = {
  SESSION_STORE: "memory:",
  SESSION_SECRET: "secret",
  SESSION_ID_SECRET: "secret",
  SESSION_KEY: Buffer.alloc(32).toString("base64"),
  AWS_REGION: "eu-west-1",
};

const SESSION_DATA = `
import "express-session";
declare module "express-session" { interface SessionData { [key: string]: any } }
`;

const TYPESCRIPT: SwcOptions = {
  jsc: { parser: { syntax: "typescript" }, target: "es2022" },
  module: { type: "commonjs" },
};

let folder: string;

beforeAll(() => {
  // Inside the package, so that the package can be imported by its own name.
  mkdirSync(join(root, ".data"), { recursive: true });
  folder = mkdtempSync(join(root, ".data", "documents-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));

describe("code in the documents", () => {
  it("has the types that it should have", async () => {
    const projects = { typescript: typeScriptOf, javascript: typedJavaScriptOf };
    const outputs = Object.entries(projects).map(async ([name, codeOf]) => {
      const project = join(folder, name);
      mkdirSync(project);
      for (const [index, block] of blocks.entries()) {
        const code = codeOf(block);
        if (code !== undefined) writeFileSync(join(project, `block-${index}.mts`), code);
      }
      writeFileSync(join(project, "surroundings.d.ts"), SURROUNDINGS);
      const isTyped = name === "typescript";
      if (!isTyped) writeFileSync(join(project, "session-data.d.ts"), SESSION_DATA);
      const compilerOptions = {
        strict: true,
        noImplicitAny: isTyped,
        module: "node20",
        target: "es2023",
        types: ["node"],
        noEmit: true,
        skipLibCheck: true,
        esModuleInterop: true,
      };
      writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions }));
      return await outputOf(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", project]);
    });
    const named = (await Promise.all(outputs))
      .join("")
      .replace(/^.*block-(\d+)\.mts/gm, (_match, index) => blocks[Number(index)]?.place ?? "");
    expect(named).toBe("");
  });

  it("runs, if it is JavaScript with the surroundings that the text gives it", async () => {
    const bodies = blocks
      .filter(({ language, marks }) => language === "js" && marks.length === 0)
      .map(({ code, place }) => `[${JSON.stringify(place)}, async ({ ${NAMES} }) => { {\n${code}} }]`);
    const program = `${VALUES}
      const blocks = [${bodies.join(",\n")}];
      (async () => {
        const failed = [];
        for (const [place, body] of blocks) await body(values).catch(error => failed.push(place + ": " + error));
        require("node:fs").writeFileSync("failed.json", JSON.stringify(failed));
        process.exit();
      })();`;
    const file = fileOf({ language: "js", code: program, marks: [], place: "" }, "blocks.js");
    const env = { ...process.env, ...SETTINGS };
    await run(process.execPath, [file], { cwd: dirname(file), env });
    expect(bodies.length).toBeGreaterThan(10);
    expect(JSON.parse(readFileSync(join(dirname(file), "failed.json"), "utf8"))).toEqual([]);
  });

  const plain = blocks.filter(
    ({ marks }) => marks[0] === "run" && (marks[1] === "memory" || marks[1] === "node-test"),
  );
  it.each(plain.map(block => [block.place, block] as const))("runs: %s", async (_place, block) => {
    const file = fileOf(block, "program.js");
    const { stdout } = await run(process.execPath, [file], { cwd: dirname(file), maxBuffer: 2 ** 26 });
    for (const expected of printedBy(block)) expect(stdout).toContain(expected);
  });

  it("makes the server of the quick start, which goes on counting after a restart", async () => {
    const port = await freePort();
    const block = blockWith("server");
    const file = fileOf({ ...block, code: block.code.replace("3000", String(port)) }, "app.js");
    let cookie = "";
    for (const views of [1, 2]) {
      const child = spawn(process.execPath, [file], { cwd: dirname(file), stdio: "ignore" });
      try {
        const response = await firstResponse(`http://127.0.0.1:${port}/`, cookie);
        expect(await response.text()).toBe(`You were here ${views} times.`);
        cookie = response.headers.getSetCookie()[0]?.split(";")[0] ?? "";
      } finally {
        child.kill("SIGKILL");
        await once(child, "exit");
      }
    }
  });

  it("makes a backup of a session file that is in use", async () => {
    const file = fileOf(blockWith("backup"), "backup.js");
    const { FileStore } = require("../../dist/file.js") as { FileStore: typeof BuiltFileStore };
    const [path, copy] = [join(dirname(file), "sessions.lmdb"), join(dirname(file), "copy.lmdb")];
    const store = new FileStore({ path });
    await store.set("sid", { cookie: { originalMaxAge: null }, user: "ann" } as never);
    await run(process.execPath, [file, path, copy]);
    await store.close();
    const backup = new FileStore({ path: copy });
    expect(await backup.get("sid")).toMatchObject({ user: "ann" });
    await backup.close();
    await expect(run(process.execPath, [file, path, copy])).rejects.toThrow();
  });
});

/** Makes a module of a file without imports. As a script, it would share its names with all other blocks. */
function typeScriptOf({ language, code }: CodeBlock): string | undefined {
  return language === "ts" ? `${code}export {};\n` : undefined;
}

/**
 * Adds the types of the surroundings to JavaScript, except to programs. The result is an ES module instead of a
 * CommonJS one, so that it may await at its top level.
 */
function typedJavaScriptOf({ language, code, marks }: CodeBlock): string | undefined {
  if (language !== "js" || marks[0] === "run") return undefined;
  const imports = code
    .replace(/^const \{([^}]*)\} = require\((".*?")\);/gm, (_match, names: string, from: string) => {
      return `import {${names.replaceAll(": ", " as ")}} from ${from};`;
    })
    .replace(/^const (\w+) = require\((".*?")\);/gm, "import $1 from $2;")
    .replace(/^module\.exports = /gm, "export default ");
  return `${imports}export {};\n`;
}

/** The expected output of a program, from the comments behind its calls of console.log. */
function printedBy({ code }: CodeBlock): string[] {
  return [...code.matchAll(/console\.log\(.*\);? \/\/ (.*)$/gm)].map(([, printed]) => printed as string);
}

function blockWith(kind: string): CodeBlock {
  const block = blocks.find(({ marks }) => marks[0] === "run" && marks[1] === kind);
  if (block === undefined) throw new Error(`No block has the mark <!-- test: run ${kind} -->`);
  return block;
}

function fileOf({ language, code }: CodeBlock, name: string): string {
  const file = join(mkdtempSync(join(folder, "program-")), name);
  const javascript = language === "ts" ? transformSync(code, TYPESCRIPT).code : code;
  writeFileSync(file, javascript);
  return file;
}

/** Returns the output of a program, even if the program fails. */
async function outputOf(program: string, args: string[]): Promise<string> {
  try {
    return (await run(program, args)).stdout;
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

async function firstResponse(url: string, cookie: string): Promise<Response> {
  const giveUpAt = Date.now() + 20_000;
  for (;;) {
    try {
      return await fetch(url, { headers: { cookie } });
    } catch (error) {
      if (Date.now() > giveUpAt) throw error;
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  }
}
