// Finds the commonest mistakes in the English of comments and documents (CONTRIBUTING.md, "English"):
//
//   node scripts/check-prose.mjs         the documents, and the comments of code, tests, examples and workflows
//   node scripts/check-prose.mjs FILE... these files
//
// It also finds sentences that are too long. Code blocks and `inline code` are not prose.

import { readdirSync, readFileSync } from "node:fs";
import { extname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** Each pattern to avoid, and what to write in its place. */
const rules = [
  [/\bunder way\b/i, "in flight, or running"],
  [/\bat once\b/i, "immediately, or together"],
  [/\bmeanwhile\b/i, "in the meantime, or name the event"],
  [/\bclean-up\b/i, "cleanup, or sweep"],
  [/\bkeep-alive\b/i, "touch (keep-alive is HTTP)"],
  [/\bprolong/i, "extend"],
  [/\b(?:tells?|knows?) (?:nothing of|of no)\b/i, "a verb that a machine can do"],
  [/\b(?:heeds?|comes? by|takes? back)\b/i, "a plain verb"],
  [/\brefus(?:e|es|ed|al|als|ing)\b/i, "reject, rejection"],
  [/\bof its own accord\b/i, "by itself"],
  [/\bfor ever\b/i, "forever"],
  [/\bso called\b/i, "called"],
  [/\bbelongs? into\b/i, "belongs in"],
  [/\bsay so\b/i, "say what is said"],
  [
    /(?:^|[.:] )(?:Who|Whoever|That of|Those that|Not if|One that|Its own,)\b(?![^.?]*\?)/,
    "a subject with a noun",
  ],
  [/\bwhat (?:is|was|are|were) (?:late|gone|stale|foreign)\b/i, "a noun: the late write, the stored record"],
  [/\bans?wers? (?:nothing|no longer)\b/i, "sends no response"],
  [/\b(?:is|are|was|were|do|does|did|wo|would|ca|could|should|has|have|had)n't\b/i, "the words in full"],
];

/** The most words in a sentence. Colons and semicolons end a sentence. Tables have no sentences. */
const MAX_WORDS = 25;

const root = fileURLToPath(new URL("..", import.meta.url));

/** The comment in a line of code, or in a line of a workflow or a shell script. */
const CODE_COMMENT = /^\s*(?:\/?\*+|\/\/)\s?(.*)$/;
const HASH_COMMENT = /^\s*#(?!!)\s?(.*)$/;

/** Starts a paragraph in a comment: an empty line, a tag, a list, or code that is set in. */
const PARAGRAPH = /^(?:$|@|- | {2,})/;

/** Returns the prose of a file, as [line number, text]. The lines of a paragraph in a comment are joined. */
function proseOf(file) {
  const lines = readFileSync(file, "utf8").split("\n").entries();
  const isDocument = extname(file) === ".md";
  const comment = [".yml", ""].includes(extname(file)) ? HASH_COMMENT : CODE_COMMENT;
  let isCode = false;
  let wasComment = false;
  const prose = [];
  for (const [index, line] of lines) {
    if (isDocument && /^\s*```/.test(line)) isCode = !isCode;
    const text = isDocument ? line : comment.exec(line)?.[1].replace(/\s*\*?\/$/, "");
    const continues = wasComment && text !== undefined && !PARAGRAPH.test(text);
    wasComment = !isDocument && text !== undefined && !/^\s*\/\*|\*\/\s*$/.test(line);
    if (text === undefined || isCode) continue;
    if (continues) prose.at(-1)[1] += ` ${text}`;
    else prose.push([index + 1, text]);
  }
  // Links have the titles of other pages, quotations and code their own words.
  return prose.map(([line, text]) => [
    line,
    text
      .replace(/^@param \S+|`[^`]*`/g, "`")
      .replace(/"[^"]*"/g, '"')
      .replace(/\]\([^)]*\)/g, "]"),
  ]);
}

function files() {
  const below = (folder, pattern) =>
    readdirSync(join(root, folder), { recursive: true })
      .filter(name => pattern.test(name) && !name.split(sep).includes("node_modules"))
      .map(name => join(root, folder, name));
  const here = pattern => readdirSync(root).filter(name => pattern.test(name));
  const code = ["lib", "__tests__", "examples", "bench", "scripts"];
  return [
    ...here(/\.md$|^jest.*\.js$/).map(name => join(root, name)),
    ...below("docs", /\.md$/),
    ...code.flatMap(folder => below(folder, /\.(?:ts|js|cjs|mjs)$/)),
    ...below(".github", /\.yml$/),
    join(root, ".ci", "run"),
  ];
}

function longSentences(text) {
  if (/^\s*\|/.test(text)) return [];
  const sentences = text.split(/(?<=[.?!:;]\**)\s+/);
  return sentences.filter(
    sentence => sentence.split(/\s+/).filter(word => /\w|`/.test(word)).length > MAX_WORDS,
  );
}

const chosen = process.argv.slice(2);
let count = 0;
for (const file of chosen.length > 0 ? chosen : files()) {
  for (const [line, text] of proseOf(file)) {
    for (const sentence of longSentences(text)) {
      count += 1;
      console.error(`${relative(root, file)}:${line}: more than ${MAX_WORDS} words: ${sentence}`);
    }
    for (const [pattern, instead] of rules) {
      const found = pattern.exec(text)?.[0];
      if (found === undefined) continue;
      count += 1;
      console.error(`${relative(root, file)}:${line}: "${found.trim()}": write ${instead}`);
    }
  }
}
if (count > 0) {
  console.error(`${count} sentences to rewrite, see CONTRIBUTING.md`);
  process.exitCode = 1;
}
