// Lists what must be filled in before the package is published: node scripts/check-placeholders.mjs [--publish]
//
// With --publish, it fails if anything is left.

import { readFileSync } from "node:fs";

const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
const open = ["repository", "homepage", "bugs"].filter(name =>
  JSON.stringify(manifest[name]).includes("PLACEHOLDER"),
);
if (open.length > 0) {
  console.error(
    `package.json: put the owner of the repository in the place of PLACEHOLDER in ${open.join(", ")}. ` +
      "Until then links of the documents lead nowhere on the registry's page.",
  );
  if (process.argv.includes("--publish")) process.exitCode = 1;
}
