import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { cp, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { Browser, setCookieOf } from "../helpers/apps/app.js";
import { createApp, optionsFor, pageText, signIn, submit } from "../helpers/apps/example-app.js";
import { etcdEndpoints, freePorts, startEtcd } from "../helpers/engines/engines.js";
import { backends, useBackend } from "../helpers/stores/backends.js";

describe.each(backends)("the example application, sessions in $name", backend => {
  const openStore = useBackend(backend);
  const createStore = () => openStore(optionsFor(backend));

  it("asks visitors to sign in, and gives them no session before", async () => {
    const visitor = new Browser(createApp(createStore()));
    expect((await visitor.attempt("GET /")).headers.location).toBe("/sign-in");
    expect(await pageText(visitor, "/sign-in")).toContain("Your name");
    expect(visitor.cookie).toBeUndefined();
  });

  it("greets the user who signed in, and counts the views of each session by itself", async () => {
    const app = createApp(createStore());
    const ada = await signIn(app, "Ada");
    const bob = await signIn(app, "Bob");
    expect(await pageText(ada)).toMatch(/Hello, Ada .*1 view of this page/);
    expect(await pageText(ada)).toContain("2 views of this page");
    expect(await pageText(bob)).toMatch(/Hello, Bob .*1 view of this page/);
  });

  it("keeps a cart", async () => {
    const ada = await signIn(createApp(createStore()), "Ada");
    expect(await pageText(ada)).toContain("Cart It is empty.");
    for (const product of ["tea", "tea", "mug"]) {
      expect(await submit(ada, "/cart/add", { product })).toBe(`/#add-${product}`);
    }
    expect(await pageText(ada)).toMatch(/Cart Tea, Earl Grey €9.00 .* Mug, 0.4 l €12.00 .* Total €21.00/);
    expect(await submit(ada, "/cart/update", { product: "tea", quantity: "1" })).toBe("/#update-tea");
    expect(await submit(ada, "/cart/remove", { product: "mug" })).toBe("/#cart");
    await pageText(ada);
    expect(await pageText(ada)).toMatch(/Cart Tea, Earl Grey €4.50 (?!.*Mug).* Total €4.50/);
    expect(await submit(ada, "/cart/update", { product: "tea", quantity: "0" })).toBe("/#cart");
    expect(await pageText(ada)).toContain("Cart Tea, Earl Grey is no longer in the cart. It is empty.");
  });

  it("says once what was done with the cart, beside the control that did it", async () => {
    const ada = await signIn(createApp(createStore()), "Ada");
    /** The control that the message describes, and the count in the header. */
    const shown = async () => {
      const { text } = await ada.send("GET /");
      const control = /id="((?:add|update)-\w+)"[^>]*aria-describedby="done"/.exec(text)?.[1];
      return [control, /Cart <span class="count">(\d+)</.exec(text)?.[1]];
    };
    await submit(ada, "/cart/add", { product: "tea" });
    await submit(ada, "/cart/add", { product: "mug" });
    expect(await shown()).toEqual(["add-mug", "2"]);
    expect(await shown()).toEqual([undefined, "2"]);
    await submit(ada, "/cart/update", { product: "tea", quantity: "7" });
    expect(await shown()).toEqual(["update-tea", "8"]);
    await submit(ada, "/cart/update", { product: "tea", quantity: "7" });
    expect(await pageText(ada)).toMatch(/Update Remove In your cart: 7 Mug/);
    await submit(ada, "/cart/remove", { product: "tea" });
    expect(await pageText(ada)).toContain("Cart Tea, Earl Grey is no longer in the cart. Mug");
    expect((await ada.send("GET /")).text).not.toContain('role="status"');
  });

  it("keeps what several tabs put into the cart at the same time", async () => {
    const ada = await signIn(createApp(createStore()), "Ada");
    await Promise.all(
      ["tea", "biscuits", "marmalade", "mug"].map(product => submit(ada, "/cart/add", { product })),
    );
    expect(await pageText(ada)).toContain("Total €23.20");
  });

  it("lists the live sessions, the visitor's own first", async () => {
    const app = createApp(createStore());
    const ada = await signIn(app, "Ada");
    const bob = await signIn(app, "Bob");
    await pageText(bob);
    await submit(bob, "/cart/add", { product: "tea" });
    expect(await pageText(ada, "/sessions")).toMatch(
      /Ada you just now in 30 min 0 0 Bob just now in 30 min 1 1 /,
    );
  });

  it("leaves alone what other applications keep under the same prefix", async () => {
    const store = createStore();
    const ada = await signIn(createApp(store), "Ada");
    const cookie = { originalMaxAge: null, path: "/", httpOnly: true };
    const foreign = [
      { cookie, views: 3 },
      { cookie, name: "Ada" },
      { cookie, name: "Ada", signedInAt: "yesterday", views: 1 },
      { cookie, name: "Ada", signedInAt: 1e300, views: 1 },
      { cookie, name: { first: "Ada" }, signedInAt: Date.now(), views: 1 },
      { cookie, name: "Ada", signedInAt: Date.now(), views: 1 },
    ];
    await Promise.all(foreign.map((session, index) => store.set(`foreign-${index}`, session)));
    expect(await pageText(ada, "/sessions")).toMatch(/Cart Ada you just now in 30 min 0 0 (?!.*Ada)/);
    if (backend.hasUsers) {
      expect(await pageText(ada, "/devices")).not.toMatch(/Last seen .*Last seen/);
      await submit(ada, "/devices/end-others");
    }
    expect(await store.length()).toBe(foreign.length + 1);
  });

  it("signs out: the session is gone, for its cookie and from the list", async () => {
    const app = createApp(createStore());
    const ada = await signIn(app, "Ada");
    const stolen = ada.clone();
    const bob = await signIn(app, "Bob");
    const response = await ada.attempt("POST /sign-out");
    expect(response.headers.location).toBe("/sign-in");
    expect(setCookieOf(response)).toMatch(/^example\.sid=;.*Expires=Thu, 01 Jan 1970/);
    expect((await stolen.attempt("GET /")).headers.location).toBe("/sign-in");
    expect(await pageText(bob, "/sessions")).not.toContain("Ada");
  });

  it("says that the store cannot be used, with status 503, and forgets nobody over it", async () => {
    jest.spyOn(console, "error").mockImplementation(() => {});
    const store = createStore();
    const ada = await signIn(createApp(store), "Ada");
    await store.close();
    const response = await ada.attempt("GET /");
    expect(response.status).toBe(503);
    expect(response.text).toContain("ERR_STORE_CLOSED");
    expect(setCookieOf(response)).toBeUndefined();
    jest.restoreAllMocks();
  });
});

describe("the example application's server", () => {
  const root = join(__dirname, "../..");
  const servers = new Set<ChildProcess>();
  let folder: string;

  // The application keeps its files in `.data` beside `examples`, so a copy of it has a separate folder.
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "express-session-stores-test-"));
    await cp(join(root, "examples"), join(folder, "examples"), { recursive: true });
    for (const name of ["package.json", "dist", "node_modules"]) {
      await symlink(join(root, name), join(folder, name));
    }
  });
  afterEach(async () => {
    for (const server of servers) {
      server.kill("SIGKILL");
      await once(server, "exit");
    }
    await rm(folder, { recursive: true });
  });

  /** Starts the application like a user. Returns its address when it listens. */
  async function start(env: Record<string, string>): Promise<{ address: string; server: ChildProcess }> {
    const server = spawn(process.execPath, [join(folder, "examples/app/server.js")], {
      cwd: folder,
      env: { PATH: process.env.PATH, PORT: "0", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    servers.add(server);
    server.once("exit", () => servers.delete(server));
    let errors = "";
    server.stderr.on("data", chunk => {
      errors += chunk;
    });
    for await (const line of createInterface(server.stdout)) {
      const address = /^(http:\S+) is open/.exec(line)?.[1];
      if (address !== undefined) return { address: address.replace("localhost", "127.0.0.1"), server };
    }
    if (server.exitCode === null) await once(server, "close");
    throw new Error(errors);
  }

  /** Ends the application like `docker stop` or Ctrl-C. Returns its exit code and signal. */
  async function stop(server: ChildProcess, signal: NodeJS.Signals): Promise<unknown[]> {
    server.kill(signal);
    return await once(server, "exit");
  }

  it("keeps its users signed in over restarts, in the session file by default", async () => {
    const first = await start({});
    const ada = await signIn(first.address, "Ada");
    await submit(ada, "/cart/add", { product: "tea" });
    expect(await pageText(ada)).toContain("1 view of this page");
    expect(await stop(first.server, "SIGTERM")).toEqual([0, null]);

    const second = await start({ SESSION_STORE: "file" });
    expect(await pageText(ada.clone(second.address))).toMatch(/Hello, Ada .*2 views .*Total €4.50/);
    expect(await stop(second.server, "SIGINT")).toEqual([0, null]);
  });

  it.each([
    ["file", () => "file:./visits/sessions.lmdb"],
    ["etcd", () => `etcd://${etcdEndpoints().join().replaceAll("http://", "")}/${randomUUID()}:`],
    [
      "dynamodb",
      () =>
        `dynamodb://local/visits-${randomUUID()}?endpoint=${process.env.DYNAMODB_ENDPOINT}&consistentRead=true`,
    ],
  ])("keeps the sessions where a URL says: %s", async (_scheme, urlOf) => {
    const SESSION_STORE = urlOf();
    const first = await start({ SESSION_STORE });
    const ada = await signIn(first.address, "Ada");
    expect(await pageText(ada)).toContain("1 view of this page");
    expect(await stop(first.server, "SIGTERM")).toEqual([0, null]);
    const second = await start({ SESSION_STORE });
    expect(await pageText(ada.clone(second.address))).toMatch(/Hello, Ada .*2 views/);
    expect(await stop(second.server, "SIGTERM")).toEqual([0, null]);
  });

  it("goes on when etcd is gone: it answers with status 503, and ends when it is told to", async () => {
    const etcd = await startEtcd();
    const { address, server } = await start({ SESSION_STORE: "etcd", ETCD_ENDPOINTS: etcd.endpoint });
    const ada = await signIn(address, "Ada");
    await etcd.stop();
    for (const call of ["GET /", "POST /sign-out", "POST /sign-in"]) {
      const response = await ada.attempt(call);
      expect(response.status).toBe(503);
      expect(response.text).toMatch(/ERR_STORE_(UNAVAILABLE|TIMEOUT)/);
      expect(setCookieOf(response)).toBeUndefined();
    }
    expect(await stop(server, "SIGTERM")).toEqual([0, null]);
  });

  it("finds etcd within 2 s after an outage, by the circuit breaker of the documents", async () => {
    const [clientPort, peerPort] = (await freePorts(2)) as [number, number];
    const dataDir = join(folder, "etcd");
    let etcd = await startEtcd({ clientPort, peerPort, dataDir });
    const { address, server } = await start({ SESSION_STORE: `etcd://127.0.0.1:${clientPort}/shop:` });
    const ada = await signIn(address, "Ada");
    const status = async () => (await ada.attempt("GET /")).status;
    await etcd.stop();
    for (let failures = 0; failures < 4; failures++) expect(await status()).toBe(503);
    etcd = await startEtcd({ clientPort, peerPort, dataDir });
    const back = performance.now();
    while ((await status()) === 503) await sleep(50);
    expect(performance.now() - back).toBeLessThan(2000);
    expect(await pageText(ada)).toContain("Hello, Ada");
    expect(await stop(server, "SIGTERM")).toEqual([0, null]);
    await etcd.stop();
  });

  it.each([
    [
      { SESSION_STORE: "redis" },
      /^SESSION_STORE is "redis": expected memory, file, dynamodb, etcd or a URL such as file:\S+\n$/,
    ],
    [{ SESSION_STORE: "redis://h" }, /unknown scheme `redis:`\. Known are memory:, /],
    [{ SESSION_STORE: "etcd://sessions:p@h:x" }, /^The etcd URL of the session store has a wrong host/],
    [
      { SESSION_STORE: "etcd://sessions:p%@h" },
      /^The etcd URL of the session store has a `%` in its password/,
    ],
    [{ PORT: "http" }, /^PORT is "http": expected a number from 0 to 65535\.\n$/],
    [
      { SESSION_STORE: "etcd", ETCD_ENDPOINTS: "http://127.0.0.1:1" },
      /^The session store "etcd" cannot be used: .*npm run engine:etcd/s,
    ],
    [
      { SESSION_STORE: "etcd://sessions:s3cret@127.0.0.1:1" },
      /^The session store "etcd" cannot be used: (?!.*s3cret).*npm run engine:etcd/s,
    ],
  ])("does not start with %j, and says why", async (env, message) => {
    await expect(start(env)).rejects.toThrow(message);
  });
});
