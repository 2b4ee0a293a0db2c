import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { FileStore } from "../../lib/file/store.js";
import type { AbstractStore } from "../../lib/index.js";
import {
  type AppOptions,
  type AppRequest,
  Browser,
  createApp,
  Gate,
  setCookieOf,
  settled,
} from "../helpers/apps/app.js";
import { openDynamoDB, openEtcd, type System, temporaryFolder } from "../helpers/outages/outages.js";
import { describeFloods } from "../helpers/suites/floods.js";

const timeoutMs = 400;
/** For everything except waiting. */
const MARGIN_MS = 600;
const RECOVERY_MS = 20_000;

const unreachable = expect.stringMatching(/^ERR_STORE_(UNAVAILABLE|TIMEOUT)$/);

interface Outage {
  name: string;
  /** The code of the error that the requests get. */
  code: unknown;
  open(): Promise<System>;
  /** Whether the outage only affects a store that has not used its backend yet. */
  onlyAtStart?: boolean;
}

/** A session file that is replaced by something else during the outage. */
async function openFile(replace: (path: string) => Promise<unknown>): Promise<System> {
  const folder = await temporaryFolder();
  const path = join(folder, "data", "sessions.lmdb");
  return {
    createStore: options => new FileStore({ ...options, path }),
    async fail() {
      await rename(join(folder, "data"), join(folder, "data-away"));
      await replace(path);
    },
    async recover() {
      await rm(join(folder, "data"), { recursive: true });
      await rename(join(folder, "data-away"), join(folder, "data"));
    },
    close: () => rm(folder, { recursive: true }),
  };
}

const outages: Outage[] = [
  { name: "etcd is stopped", code: unreachable, open: () => openEtcd("stopped") },
  // Either the store's timer or gRPC's comes first.
  { name: "etcd is frozen", code: unreachable, open: () => openEtcd("frozen") },
  { name: "DynamoDB refuses connections", code: unreachable, open: () => openDynamoDB("refusing") },
  { name: "DynamoDB never answers", code: "ERR_STORE_TIMEOUT", open: () => openDynamoDB("silent") },
  {
    name: "the session file is some other file",
    code: "ERR_STORE_UNAVAILABLE",
    open: () =>
      openFile(async path => {
        await mkdir(join(path, ".."));
        await writeFile(path, "not a session".repeat(1000));
      }),
    onlyAtStart: true,
  },
  {
    name: "the session file is a folder",
    code: "ERR_STORE_UNAVAILABLE",
    open: () => openFile(path => mkdir(path, { recursive: true })),
    onlyAtStart: true,
  },
  {
    name: "the session file's folder cannot be made",
    code: "ERR_STORE_UNAVAILABLE",
    open: () => openFile(path => writeFile(join(path, ".."), "a file")),
    onlyAtStart: true,
  },
];

/** A request, with its duration. */
async function timed(browser: Browser, call: string) {
  const start = performance.now();
  const response = await browser.attempt(call);
  return { response, ms: performance.now() - start };
}

// An unhandled rejection or an uncaught exception would end the process, and so fail the run.
describe.each(outages)("while $name", ({ open, code, onlyAtStart }) => {
  /** Gates of requests that load their session before the outage. */
  const gates = { save: new Gate(), read: new Gate() };
  const errors: unknown[] = [];
  const options: AppOptions = {
    cookie: { maxAge: 600_000 },
    onError: error => errors.push(error),
    routes: {
      "POST /slow-save": async (req: AppRequest) => {
        await gates.save.pass();
        req.session.tea = 1;
        await settled(done => req.session.save(done));
      },
      "GET /slow-read": async (req: AppRequest) => {
        await gates.read.pass();
        return req.session.user;
      },
    },
  };
  let system: System;
  let store: AbstractStore;
  let ada: Browser;
  let slowSave: ReturnType<Browser["attempt"]>;
  let slowRead: ReturnType<Browser["attempt"]>;

  beforeAll(async () => {
    system = await open();
    const before = system.createStore({ timeoutMs, touchAfter: 0 });
    ada = new Browser(createApp(before, options));
    await ada.send("POST /sign-in?user=ada");
    await before.close();

    store = system.createStore({ timeoutMs, touchAfter: 0 });
    ada = ada.clone(createApp(store, options));
    if (!onlyAtStart) {
      slowSave = ada.clone().attempt("POST /slow-save");
      slowRead = ada.clone().attempt("GET /slow-read");
      await Promise.all([gates.save.reached, gates.read.reached]);
    }
    await system.fail();
  });
  afterAll(async () => {
    gates.save.open();
    gates.read.open();
    await Promise.all([slowSave, slowRead]);
    await store.close();
    await system.close();
  });

  it.each(["GET /", "POST /set?tea=1", "POST /sign-in?user=ada", "POST /sign-out"])(
    "%s gets an error in time, and nobody is taken for signed out",
    async call => {
      const { response, ms } = await timed(ada, call);
      expect(response.status).toBe(500);
      expect(response.body.code).toEqual(code);
      expect(setCookieOf(response)).toBeUndefined();
      expect(ms).toBeLessThan(timeoutMs + MARGIN_MS);
    },
  );

  it("many requests at once get their errors in time", async () => {
    const results = await Promise.all(Array.from({ length: 30 }, () => timed(ada, "GET /")));
    for (const { response, ms } of results) {
      expect(response.status).toBe(500);
      expect(ms).toBeLessThan(timeoutMs + MARGIN_MS);
    }
  });

  it("a visitor without a session is served, but cannot begin one", async () => {
    const visitor = new Browser(ada.app);
    expect(await visitor.fields()).toEqual({});
    const { response, ms } = await timed(visitor, "POST /sign-in?user=bob");
    expect(response.status).toBe(500);
    expect(response.body.code).toEqual(code);
    expect(visitor.cookie).toBeUndefined();
    expect(ms).toBeLessThan(timeoutMs + MARGIN_MS);
  });

  if (!onlyAtStart) {
    it("a request that has loaded its session before gets an error for its save", async () => {
      const start = performance.now();
      gates.save.open();
      const { status, body } = await slowSave;
      expect(status).toBe(500);
      expect(body.code).toEqual(code);
      expect(performance.now() - start).toBeLessThan(timeoutMs + MARGIN_MS);
    });

    it("a request that has only read its session is answered, and the error of its touch reported", async () => {
      errors.length = 0;
      const start = performance.now();
      gates.read.open();
      const { status, body } = await slowRead;
      expect({ status, body }).toEqual({ status: 200, body: "ada" });
      // express-session passes the error on in a separate turn of the event loop.
      await turn();
      expect(errors).toEqual([expect.objectContaining({ code })]);
      expect(performance.now() - start).toBeLessThan(timeoutMs + MARGIN_MS);
    });
  }

  describe("and when that is over", () => {
    beforeAll(async () => {
      await system.recover();
      const deadline = Date.now() + RECOVERY_MS;
      while (
        await store.ping().then(
          () => false,
          () => true,
        )
      ) {
        if (Date.now() > deadline) throw new Error("The store did not recover");
        await sleep(50);
      }
    });

    it("users are still signed in", async () => {
      expect(await ada.fields()).toMatchObject({ user: "ada" });
    });

    it("sessions begin, change and end again", async () => {
      const bob = new Browser(ada.app);
      await bob.send("POST /sign-in?user=bob");
      await bob.send("POST /set?tea=1");
      expect(await bob.fields()).toEqual({ user: "bob", tea: "1" });
      await bob.send("POST /sign-out");
      expect(await bob.fields()).toEqual({});
    });
  });
});

describeFloods({ refused: 10_000, hanging: 1000, atOnce: 10_000 });
