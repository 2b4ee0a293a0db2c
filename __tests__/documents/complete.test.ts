import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { createStore } from "../../lib/create-store.js";
import { DynamoDBStore } from "../../lib/dynamodb.js";
import { EtcdStore } from "../../lib/etcd.js";
import { FileStore } from "../../lib/file.js";
import { MemoryStore } from "../../lib/memory.js";
import { MigratingStore } from "../../lib/migrate/migrating-store.js";
import { documents, root } from "./markdown.js";

const texts = new Map(documents().map(({ path, text }) => [path, text]));

function textOf(path: string): string {
  return texts.get(path) ?? "";
}

function headingsOf(path: string): string[] {
  return [...textOf(path).matchAll(/^#{2,3} (.*)$/gm)].map(([, heading]) => heading as string);
}

/** The options that a store accepts, from its error for an unknown option. */
function optionsOf(construct: () => unknown): string[] {
  return /accepts (.*)\.$/.exec(messageOf(construct))?.[1]?.split(", ") ?? [];
}

function messageOf(fail: () => unknown): string {
  try {
    fail();
  } catch (error) {
    return (error as Error).message;
  }
  return "";
}

const unknown = { unknown: true } as never;
const shared = optionsOf(() => new MemoryStore(unknown)).filter(
  option => !["max", "maxBytes", "cleanupInterval"].includes(option),
);

describe("the documents have a place for", () => {
  it("every error code", () => {
    const code = readFileSync(join(root, "lib/errors.ts"), "utf8");
    const codes = [...code.matchAll(/^ {2}\| "(ERR_\w+)"/gm)].map(([, name]) => name as string);
    expect(codes.length).toBeGreaterThan(9);
    const headings = headingsOf("docs/api.md");
    expect(codes.filter(name => !headings.includes(`\`${name}\``))).toEqual([]);
    expect(headings.filter(heading => heading.startsWith("`ERR_")).length).toBe(codes.length);
  });

  it("every event", () => {
    const headings = headingsOf("docs/api.md");
    for (const event of ["conflict", "corrupt", "expired", "error"])
      expect(headings).toContain(`\`${event}\``);
  });

  it("every public method", () => {
    const stores = [MemoryStore, FileStore, DynamoDBStore, EtcdStore].map(({ prototype }) => prototype);
    const prototypes = [...stores, Object.getPrototypeOf(MemoryStore.prototype)];
    const methods = new Set(prototypes.flatMap(prototype => Object.getOwnPropertyNames(prototype)));
    const inherited = ["constructor", "on", "once"];
    const named = [...methods].filter(name => !name.startsWith("_") && !inherited.includes(name));
    const headings = headingsOf("docs/api.md").join("\n");
    expect(named.filter(name => !headings.includes(`\`${name}(`))).toEqual([]);
  });

  it("every option of all stores, in the README", () => {
    expect(shared).toContain("touchAfter");
    expect(shared.filter(option => !textOf("README.md").includes(`| \`${option}\` |`))).toEqual([]);
  });

  const client = { send() {}, middlewareStack: { clone() {} } } as unknown as DynamoDBClient;
  it.each([
    ["docs/stores/memory.md", () => new MemoryStore(unknown)],
    ["docs/stores/file.md", () => new FileStore(unknown)],
    ["docs/stores/dynamodb.md", () => new DynamoDBStore({ client, ...(unknown as object) })],
    ["docs/stores/etcd.md", () => new EtcdStore(unknown)],
    ["docs/migrating.md", () => new MigratingStore(unknown)],
  ])("every option of %s", (path, construct) => {
    const own = optionsOf(construct).filter(option => !shared.includes(option));
    expect(own).not.toEqual([]);
    expect(own.filter(option => !textOf(path).includes(`| \`${option}\` |`))).toEqual([]);
  });

  it.each(["memory:", "file:./x", "dynamodb://local/x", "etcds://h1"])("every parameter of %s", url => {
    const create = () => createStore(`${url}?unknown=1`);
    expect(create).toThrow(TypeError);
    const [, known = ""] = /Known are (.*)\.$/.exec(messageOf(create)) ?? [];
    const parameters = known.split(", ").filter(name => !/^attributes\.(?!ttl)/.test(name));
    expect(parameters).toContain("ttl");
    const text = textOf("docs/create-store.md");
    expect(parameters.filter(name => !text.includes(`\`${name}\``))).toEqual([]);
  });

  it("the same subjects on the page of each store", () => {
    const subjects = (path: string) =>
      [...textOf(path).matchAll(/^## (.*)$/gm)].map(([, heading]) => heading);
    const expected = subjects("docs/stores/memory.md");
    for (const store of ["file", "dynamodb", "etcd"])
      expect(subjects(`docs/stores/${store}.md`)).toEqual(expected);
  });
});
