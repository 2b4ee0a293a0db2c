import type { Worker } from "node:cluster";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileStore } from "../../lib/file/store.js";
import type { Browser } from "../helpers/apps/app.js";
import { WorkerCluster } from "../helpers/processes/cluster-primary.js";

const WORKERS = 4;

const range = (count: number) => Array.from({ length: count }, (_, index) => index);

describe("several processes on one session file", () => {
  let folder: string;
  let path: string;
  let servers: WorkerCluster;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "express-session-stores-test-"));
  });
  beforeEach(async () => {
    path = join(folder, `${Math.random()}.lmdb`);
    servers = await WorkerCluster.start(WORKERS, path);
  });
  afterEach(() => servers.stop());
  afterAll(() => rm(folder, { recursive: true }));

  async function signIn(user = "ada"): Promise<Browser> {
    const browser = servers.browser();
    await browser.send(`POST /sign-in?user=${user}`);
    return browser;
  }

  it("keep all that parallel requests change in one session", async () => {
    const ada = await signIn();
    const requests = range(20).map(index => ada.send(`POST /set?gate=all&key${index}=${index}`));
    await servers.reached("all", 20);
    servers.open("all");
    const pids = (await Promise.all(requests)).map(({ body }) => body);
    expect(new Set(pids).size).toBeGreaterThan(1);
    expect(await ada.fields()).toEqual({
      user: "ada",
      ...Object.fromEntries(range(20).map(index => [`key${index}`, `${index}`])),
    });
  });

  it("keep all that parallel requests change in many sessions", async () => {
    const sessions = await Promise.all(
      range(30).map(async number => {
        const browser = await signIn(`user${number}`);
        await Promise.all(range(5).map(index => browser.send(`POST /set?key${index}=${number}`)));
        return browser.fields();
      }),
    );
    expect(sessions).toEqual(
      range(30).map(number => ({
        user: `user${number}`,
        ...Object.fromEntries(range(5).map(index => [`key${index}`, `${number}`])),
      })),
    );
  });

  it("see what another process has saved with the very next request", async () => {
    const turns = async (first: number) => {
      const { cookie } = await signIn();
      for (const turn of range(75)) {
        const writer = servers.browserOf(first + turn, cookie);
        await writer.send(`POST /set?turn=${turn}`);
        const reader = servers.browserOf(first + turn + 1, cookie);
        expect(await reader.fields()).toEqual({ user: "ada", turn: `${turn}` });
      }
    };
    await Promise.all(range(WORKERS).map(turns));
  });

  it("see a logout in another process with the very next request", async () => {
    const turns = async (first: number) => {
      for (const turn of range(25)) {
        const { cookie } = await signIn();
        const [here, ...elsewhere] = range(WORKERS).map(worker =>
          servers.browserOf(first + turn + worker, cookie),
        );
        for (const browser of elsewhere) expect(await browser.fields()).toEqual({ user: "ada" });
        await here?.send("POST /sign-out");
        for (const browser of elsewhere) expect(await browser.fields()).toEqual({});
      }
    };
    await Promise.all(range(WORKERS).map(turns));
  });

  it("leave a session destroyed when a slow request in another process saves it", async () => {
    const { cookie } = await signIn();
    const slow = servers.browserOf(0, cookie).send("POST /set?gate=logout&tea=1");
    await servers.reached("logout", 1);
    await servers.browserOf(1, cookie).send("POST /sign-out");
    servers.open("logout");
    await slow;
    for (const worker of range(WORKERS)) expect(await servers.browserOf(worker, cookie).fields()).toEqual({});
  });

  it("clean up at the same time: each expired session is removed once, and no other", async () => {
    const now = new FileStore({ path });
    const anHourAgo = new FileStore({ path, ttl: 60, now: () => Date.now() - 3_600_000 });
    const session = { cookie: { originalMaxAge: null } };
    await Promise.all(range(1010).map(index => anHourAgo.set(`sid-${index}`, session)));
    // These sessions were due for deletion then, but have been saved again.
    await Promise.all(range(10).map(index => now.set(`sid-${index}`, session)));
    const living = await Promise.all(range(10).map(number => signIn(`user${number}`)));

    const [removed] = await Promise.all([
      Promise.all(range(WORKERS).map(worker => servers.browserOf(worker).send("POST /cleanup"))),
      ...living.map(browser => browser.send("POST /set?tea=1")),
    ]);

    expect(removed.reduce((sum, { body }) => sum + body, 0)).toBe(1000);
    expect(await now.length()).toBe(20);
    for (const [number, browser] of living.entries()) {
      expect(await browser.fields()).toEqual({ user: `user${number}`, tea: "1" });
    }
    await Promise.all([now.close(), anHourAgo.close()]);
  });

  it("go on when one of them is killed while it writes, and lose nothing that was answered", async () => {
    const ada = await signIn();
    const [victim] = servers.workers as [Worker, ...Worker[]];
    const death = once(victim, "exit");
    const answered: number[] = [];
    const attempts = range(60).map(async index => {
      // Half of them go to the victim, which may be killed before it responds.
      const browser = servers.browserOf(index % 2, ada.cookie);
      const ok = await browser.send(`POST /set?key${index}=${index}`).then(
        () => true,
        () => false,
      );
      if (ok) answered.push(index);
      if (answered.length === 10) victim.process.kill("SIGKILL");
      return ok || index % 2 === 0;
    });
    expect(await Promise.all(attempts)).not.toContain(false);
    expect(await death).toEqual([null, "SIGKILL"]);
    const fields = await servers.browserOf(1, ada.cookie).fields();
    expect(fields).toMatchObject(Object.fromEntries(answered.map(index => [`key${index}`, `${index}`])));
  });
});
