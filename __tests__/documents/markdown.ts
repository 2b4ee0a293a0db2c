import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";

export const root = join(__dirname, "../..");

/** A block of code in a document. */
export interface CodeBlock {
  readonly language: string;
  readonly code: string;
  /** The words of the mark `<!-- test: ... -->` before the block. */
  readonly marks: readonly string[];
  /** File and line, for messages. */
  readonly place: string;
}

/** A document: its text, and the parts that the tests look for. */
export interface Document {
  /** Relative to the root, with slashes. */
  readonly path: string;
  readonly text: string;
  readonly blocks: readonly CodeBlock[];
  /** The anchors of its headings. */
  readonly anchors: ReadonlySet<string>;
  readonly links: readonly { readonly target: string; readonly place: string }[];
}

const MARK = /^<!-- test: (.*) -->$/;

/** The documents that users read. */
export function documents(): Document[] {
  const pages = readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" });
  const bench = ["bench/README.md", "bench/RESULTS.md"];
  const paths = [...readdirSync(root), ...bench, ...pages.map(page => join("docs", page))];
  return paths.filter(path => path.endsWith(".md")).map(path => read(path.split(sep).join("/")));
}

function read(path: string): Document {
  const text = readFileSync(join(root, path), "utf8");
  const blocks: CodeBlock[] = [];
  const anchors = new Set<string>();
  const links: { target: string; place: string }[] = [];
  let open: { language: string; lines: string[]; marks: string[]; line: number } | undefined;
  let marks: string[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const place = `${path}:${index + 1}`;
    const fence = /^\s*```(\w*)/.exec(line);
    if (open !== undefined) {
      if (fence === null) open.lines.push(line);
      else {
        blocks.push({ ...open, code: `${open.lines.join("\n")}\n`, place: `${path}:${open.line}` });
        open = undefined;
        marks = [];
      }
    } else if (fence !== null) {
      open = { language: fence[1] ?? "", lines: [], marks, line: index + 1 };
    } else {
      marks = MARK.exec(line)?.[1]?.split(" ") ?? (line === "" ? marks : []);
      const heading = /^#+ (.*)$/.exec(line)?.[1];
      if (heading !== undefined) addAnchor(anchors, heading);
      for (const target of targetsIn(line)) links.push({ target, place });
    }
  }
  if (open !== undefined) throw new Error(`${path}:${open.line}: the block does not end`);
  return { path, text, blocks, anchors, links };
}

/** The targets of links and images, outside of inline code. */
function targetsIn(line: string): string[] {
  const prose = line.replace(/`[^`]*`/g, "code");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target as string);
}

/** Returns the anchor that GitHub makes from a heading. */
function addAnchor(anchors: Set<string>, heading: string): void {
  const base = heading
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replace(/ /g, "-");
  let anchor = base;
  for (let count = 1; anchors.has(anchor); count++) anchor = `${base}-${count}`;
  anchors.add(anchor);
}

export function pathFrom(document: string, target: string): string {
  return relative(root, join(root, document, "..", target))
    .split(sep)
    .join("/");
}
