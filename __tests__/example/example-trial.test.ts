import type { RequestListener } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import request from "supertest";
import { Browser, setCookieOf } from "../helpers/apps/app.js";
import { createApp, optionsFor, pageText, signIn } from "../helpers/apps/example-app.js";
import { backends, useBackend } from "../helpers/stores/backends.js";

const STORE = "/try/store";
const MEMORY = "/try/memory";
const CHANGES = 20;

async function begin(app: RequestListener, path: string): Promise<Browser> {
  const browser = new Browser(app);
  await post(browser, `${path}/begin`);
  return browser;
}

/** Sends a request of a trial, which has to succeed. Returns the response's JSON. */
async function post(browser: Browser, path: string, form?: Record<string, string>) {
  const { status, body } = await browser.attempt(`POST ${path}`, form);
  expect([path, status]).toEqual([path, 200]);
  return body;
}

async function stateOf(browser: Browser, path: string): Promise<{ kept: number[]; trial?: string }> {
  return (await browser.send(`GET ${path}/state`)).body;
}

/** Sends all changes in parallel. Returns the numbers of the changes that are kept. */
async function changeInParallel(app: RequestListener, path: string): Promise<number[]> {
  const browser = await begin(app, path);
  const numbers = Array.from({ length: CHANGES }, (_, number) => String(number));
  await Promise.all(numbers.map(number => post(browser.clone(), `${path}/change`, { number })));
  return (await stateOf(browser, path)).kept;
}

/** Signs out during a slow request. Returns whether the session exists after the end of that request. */
async function signOutDuringRequest(app: RequestListener, path: string): Promise<boolean> {
  for (;;) {
    const browser = await begin(app, path);
    const slow = post(browser.clone(), `${path}/slow`);
    await sleep(300);
    const { beganAt, endedAt } = await post(browser.clone(), `${path}/end`);
    const { loadedAt, savedAt } = await slow;
    // On a busy machine, the slow request may load its session too late. Then the trial is repeated.
    if (loadedAt <= beganAt && endedAt <= savedAt) return (await stateOf(browser, path)).trial !== undefined;
  }
}

describe.each(backends)("a trial of a store, sessions in $name", backend => {
  const openStore = useBackend(backend);
  const createStore = () => openStore(optionsFor(backend));

  it("keeps all parallel changes in this store, and loses some in express-session's MemoryStore", async () => {
    const app = createApp(createStore());
    expect(await changeInParallel(app, STORE)).toHaveLength(CHANGES);
    const kept = await changeInParallel(app, MEMORY);
    expect(kept.length).toBeGreaterThan(0);
    expect(kept.length).toBeLessThan(CHANGES);
  });

  it("shows that a sign-out is final in this store, and is not in express-session's MemoryStore", async () => {
    const app = createApp(createStore());
    expect(await signOutDuringRequest(app, STORE)).toBe(false);
    expect(await signOutDuringRequest(app, MEMORY)).toBe(true);
  });

  it("leaves the application's own sessions alone", async () => {
    const store = createStore();
    const app = createApp(store);
    const ada = await signIn(app, "Ada");
    const trial = await begin(app, STORE);
    expect(await store.length()).toBe(2);
    expect(await pageText(ada, "/sessions")).toMatch(/Cart Ada you just now in 30 min 0 0 (?!.*just now)/);
    expect((await trial.attempt("GET /")).headers.location).toBe("/sign-in");
    const response = await trial.attempt(`POST ${STORE}/end`);
    expect(setCookieOf(response)).toMatch(/^try-store\.sid=; Path=\/try\/store; Expires=Thu, 01 Jan 1970/);
    expect(await store.length()).toBe(1);
    expect(await pageText(ada)).toContain("Hello, Ada");
  });

  it("responds with status 503 when the store cannot be used", async () => {
    jest.spyOn(console, "error").mockImplementation(() => {});
    const store = createStore();
    const app = createApp(store);
    const trial = await begin(app, STORE);
    await store.close();
    for (const call of ["GET /state", "POST /change", "POST /begin", "POST /end"]) {
      const [method, path] = call.split(" ");
      expect((await trial.attempt(`${method} ${STORE}${path}`, { number: "1" })).status).toBe(503);
    }
    expect(await changeInParallel(app, MEMORY)).not.toHaveLength(0);
    jest.restoreAllMocks();
  });

  it.each([STORE, MEMORY])("rejects requests under %s that no page of the application sends", async path => {
    const store = createStore();
    const app = createApp(store);
    const visitor = new Browser(app);
    expect(await stateOf(visitor, path)).toEqual({ kept: [] });
    for (const call of ["/change", "/slow", "/end"]) {
      expect((await visitor.attempt(`POST ${path}${call}`, { number: "1" })).status).toBe(409);
    }
    expect(visitor.cookie).toBeUndefined();

    const trial = await begin(app, path);
    for (const number of ["", "20", "-1", "1e1", "0x1", "__proto__", "1".repeat(100)]) {
      expect((await trial.attempt(`POST ${path}/change`, { number })).status).toBe(400);
    }
    const wrong = () =>
      request(app)
        .post(`${path}/change`)
        .set("Cookie", trial.cookie as string);
    expect((await wrong()).status).toBe(400);
    expect((await wrong().type("form").send("number=1&number=2")).status).toBe(400);
    expect((await wrong().type("json").send('{"number":1}')).status).toBe(400);
    expect(
      (
        await wrong()
          .type("form")
          .send(`number=${"1".repeat(5000)}`)
      ).status,
    ).toBe(413);
    for (const [header, value] of [
      ["Origin", "https://shop.example"],
      ["Origin", "null"],
      ["Sec-Fetch-Site", "same-site"],
    ] as const) {
      expect((await wrong().set(header, value).type("form").send({ number: "1" })).status).toBe(403);
    }
    expect((await trial.attempt(`GET ${path}/change`)).status).toBe(404);
    expect((await trial.attempt(`POST ${path}/other`)).status).toBe(404);
    expect(await stateOf(trial, path)).toEqual({ kept: [], trial: expect.any(String) });
    expect((await trial.attempt(`POST ${path}/end`)).status).toBe(200);
  });

  it("is explained on a page for those who are signed in", async () => {
    const app = createApp(createStore());
    expect((await new Browser(app).attempt("GET /try")).headers.location).toBe("/sign-in");
    const ada = await signIn(app, "Ada");
    expect(await pageText(ada, "/try")).toMatch(
      /20 changes in parallel\. .* of this shop .* of express-session/,
    );
    expect((await ada.send("GET /try")).headers["content-security-policy"]).toContain("script-src 'self';");
  });
});
