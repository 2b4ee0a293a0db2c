import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { documents, root } from "./markdown.js";

/** Texts of clients, engines and the operating system. */
const NOT_OURS =
  /^(etcdserver: |Received message|Execution prevented|AccessDenied|Region is missing|Could not load|EACCES|permission denied|The property 'options|ERR_)/;

/** The source without quotes around names and breaks in strings, and with `…` in place of values. */
const source = readdirSync(join(root, "lib"), { recursive: true, encoding: "utf8" })
  .filter(path => path.endsWith(".ts"))
  .map(path => readFileSync(join(root, "lib", path), "utf8"))
  .join("\n")
  .replace(/\$\{[^}]*\}/g, "…")
  .replace(/" \+\n\s*"/g, "")
  .replaceAll("\\`", "")
  .replaceAll("`", "");

const pages = documents().filter(({ path }) => path.startsWith("docs/stores/"));

describe("the errors that the pages of the stores explain", () => {
  it.each(pages.map(page => [page.path, page] as const))("are those of the code: %s", (_path, { text }) => {
    const rows = (text.split("## Troubleshooting")[1] ?? "").matchAll(/^\| (.*?) \|/gm);
    const quoted = [...rows].flatMap(([, cell = ""]) =>
      [...cell.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code),
    );
    const ours = quoted.filter(code => code.includes(" ") && !NOT_OURS.test(code));
    const unknown = ours.filter(code => !code.split("…").every(part => source.includes(part)));
    expect(ours).not.toEqual([]);
    expect(unknown).toEqual([]);
  });
});
