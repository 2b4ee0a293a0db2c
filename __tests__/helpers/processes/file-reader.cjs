// Reads session files in a separate process, because LMDB can end a process that opens a damaged file. For each path in
// the arguments it writes a line of JSON: the sessions that it found by their `value`, how many it could not read, and
// the error of each method. With `--nobody` it gives up the rights of root first.

const { FileStore } = require("express-session-stores/file");

const NOBODY = 65_534;

async function read(path) {
  const store = new FileStore({ path, cleanupInterval: 0 });
  const seen = { found: {}, errors: {}, corrupt: 0 };
  store.on("corrupt", () => {
    seen.corrupt += 1;
  });
  const attempt = async (name, call) => {
    try {
      return await call();
    } catch ({ code, message }) {
      seen.errors[name] = { code, message };
      return undefined;
    }
  };
  const sids = (await attempt("ids", () => store.ids())) ?? [];
  for (const sid of sids) {
    const session = await attempt("get", () => store.get(sid));
    if (session) seen.found[sid] = session.value;
  }
  await attempt("get", () => store.get("none"));
  await attempt("set", () => store.set("another", { cookie: {}, value: "another" }));
  await attempt("destroy", () => store.destroy("another"));
  await attempt("ping", () => store.ping());
  await store.close();
  process.stdout.write(`${JSON.stringify(seen)}\n`);
}

async function main(paths) {
  // Only after loading the package, because the new user may not be allowed to read it.
  if (paths[0] === "--nobody") {
    paths.shift();
    if (process.getuid() === 0) {
      process.setgid(NOBODY);
      process.setuid(NOBODY);
    }
  }
  for (const path of paths) await read(path);
}

void main(process.argv.slice(2));
