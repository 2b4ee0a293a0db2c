import { existsSync } from "node:fs";
import { join } from "node:path";
import { documents, pathFrom, root } from "./markdown.js";

const all = documents();
const byPath = new Map(all.map(document => [document.path, document]));

describe("links of the documents", () => {
  it("lead to files and headings that exist", () => {
    const broken = all.flatMap(({ path, links }) =>
      links.flatMap(({ target, place }) => {
        if (/^(https?|mailto):/.test(target)) return [];
        const [file = "", anchor] = target.split("#");
        const linked = file === "" ? path : pathFrom(path, file);
        if (!existsSync(join(root, linked))) return [`${place}: ${target} does not exist`];
        const isFound = anchor === undefined || byPath.get(linked)?.anchors.has(anchor);
        return isFound ? [] : [`${place}: ${target} has no such heading`];
      }),
    );
    expect(broken).toEqual([]);
  });

  it("reach every page of docs from its index", () => {
    const index = byPath.get("docs/README.md");
    const linked = new Set(index?.links.map(({ target }) => pathFrom("docs/README.md", target)));
    const pages = all.map(({ path }) => path).filter(path => /^docs\/(stores\/)?[^/]+$/.test(path));
    expect(pages.filter(path => path !== "docs/README.md" && !linked.has(path))).toEqual([]);
  });
});

describe("the README", () => {
  it("has at most 200 lines", () => {
    expect(byPath.get("README.md")?.text.trimEnd().split("\n").length).toBeLessThanOrEqual(200);
  });

  it("shows no image that the package lacks", () => {
    const { files } = require("../../package.json") as { files: string[] };
    const images = byPath.get("README.md")?.links.filter(({ target }) => /\.(svg|png)$/.test(target)) ?? [];
    const missing = images.filter(
      ({ target }) => !files.some(file => target === file || target.startsWith(`${file}/`)),
    );
    expect(images).not.toEqual([]);
    expect(missing).toEqual([]);
  });
});
