import { setTimeout as sleep } from "node:timers/promises";
import { ConsecutiveBreaker, circuitBreaker, handleWhen } from "cockatiel";
import { Etcd3, isRecoverableError } from "etcd3";
import { EtcdStore } from "../../../lib/etcd/store.js";
import { Visitors } from "../apps/visitors.js";
import { EtcdCluster } from "../engines/etcd-cluster.js";
import { EventLoop } from "../measures/event-loop.js";
import { figure } from "../measures/figures.js";
import { seeded } from "../random.js";

const REQUESTS_PER_SECOND = 50;
const timeoutMs = 2000;
const MARGIN_MS = 300;
/** Errors must end within this time after the cluster has recovered. */
const MAX_RECOVERY_MS = 5000;
/** Errors have ended when there were none for this time. */
const QUIET_MS = 1500;

interface Scale {
  rounds: number;
  cutOffMs: number;
  downMs: number;
}

/** Three members of etcd under the example application, of which one or all fail. */
export function describeFailover({ rounds, cutOffMs, downMs }: Scale): void {
  describe("an etcd of three members under load", () => {
    let cluster: EtcdCluster;
    let client: Etcd3;
    let store: EtcdStore;
    let visitors: Visitors;
    let slowestCall = 0;
    let eventLoop: EventLoop;
    let logged: jest.SpyInstance;

    beforeAll(async () => {
      // The application logs the errors of the store.
      logged = jest.spyOn(console, "error").mockImplementation(() => {});
      cluster = await EtcdCluster.start();
      client = new Etcd3({
        hosts: cluster.endpoints,
        // The same circuit breaker as in docs/stores/etcd.md.
        faultHandling: {
          host: () =>
            circuitBreaker(handleWhen(isRecoverableError), {
              halfOpenAfter: 1000,
              breaker: new ConsecutiveBreaker(3),
            }),
        },
      });
      store = new EtcdStore({ client, timeoutMs });
      timeCalls(store, ms => {
        slowestCall = Math.max(slowestCall, ms);
      });
      visitors = new Visitors(store, seeded(3));
      eventLoop = new EventLoop();
      await visitors.start(REQUESTS_PER_SECOND);
      await answers(2 * REQUESTS_PER_SECOND);
    });
    afterAll(async () => {
      await visitors.stop();
      eventLoop.stop();
      await store.close();
      client.close();
      await cluster.stop();
      jest.restoreAllMocks();
    });

    /** Waits for `count` more responses. */
    async function answers(count: number): Promise<void> {
      const enough = visitors.clicks.length + count;
      while (visitors.clicks.length < enough) await sleep(10);
    }

    /** Causes a failure, repairs it, and checks how it affected the visitors. */
    async function survive(name: string, harm: () => Promise<unknown>, repair?: () => Promise<unknown>) {
      const from = visitors.clicks.length;
      const begun = performance.now();
      await harm();
      await repair?.();
      await cluster.healthy();
      const back = performance.now();
      const lastFailure = () => {
        const failures = visitors.clicks.slice(from).filter(({ failed }) => failed);
        return Math.max(begun, ...failures.map(({ at }) => at));
      };
      while (performance.now() - Math.max(back, lastFailure()) < QUIET_MS) await sleep(50);
      const clicks = visitors.clicks.slice(from);
      const failed = clicks.filter(click => click.failed).length;
      const recoveryMs = Math.max(0, lastFailure() - back);
      figure(
        `${name}: ${clicks.length} requests, ${failed} errors, the last ${Math.round(recoveryMs)} ms after ` +
          `the cluster was back, ${Math.round(lastFailure() - begun)} ms after the beginning`,
      );
      expect(recoveryMs).toBeLessThan(MAX_RECOVERY_MS);
      return { errors: failed / clicks.length };
    }

    for (let round = 1; round <= rounds; round++) {
      describe(`in round ${round}`, () => {
        it("elects another when its leader is killed, and takes that in again when it is restarted", async () => {
          const leader = await cluster.leader();
          await survive("leader killed", () => cluster.kill(leader));
          await survive("and restarted", () => cluster.start(leader));
        });

        it("serves nearly everybody while a member hangs that does not lead", async () => {
          const follower = ((await cluster.leader()) + 1) % 3;
          const { errors } = await survive(
            "follower cut off",
            () => cluster.freeze(follower, cutOffMs),
            async () => cluster.thaw(follower),
          );
          expect(errors).toBeLessThan(0.2);
        });

        it("elects another when its leader hangs", async () => {
          const leader = await cluster.leader();
          await survive(
            "leader cut off",
            () => cluster.freeze(leader, cutOffMs),
            async () => cluster.thaw(leader),
          );
        });

        it(`is back after all members were down for ${downMs / 1000} s`, async () => {
          await survive(
            "all down",
            async () => {
              await cluster.killAll();
              await sleep(downMs);
            },
            () => cluster.startAll(),
          );
        });
      });
    }

    it("does without leases that are revoked as soon as they are granted: no write fails for that, and no session is lost", async () => {
      const lost = loseLeases(client);
      logged.mockClear();
      await answers(2 * REQUESTS_PER_SECOND);
      // On a busy machine, 50 new leases together may take longer than a visitor waits. A write that hangs fails here.
      const patient = new EtcdStore({ client, timeoutMs: 10 * timeoutMs });
      // These sessions use other windows than the application's.
      const sids = Array.from({ length: 200 }, (_, index) => `sid-${index}`);
      await Promise.all(
        sids.map((sid, index) =>
          patient.set(sid, { cookie: { originalMaxAge: null, expires: inMinutes(1 + (index % 50)) } }),
        ),
      );
      const found = await Promise.all(sids.map(sid => patient.get(sid)));
      expect(found.filter(session => session === null)).toEqual([]);
      const codes = logged.mock.calls.map(([error]) => error.code);
      expect(codes.filter(code => code !== "ERR_STORE_TIMEOUT")).toEqual([]);
      expect(lost.size).toBeGreaterThan(20);
      await Promise.all(sids.map(sid => patient.destroy(sid)));
      await patient.close();
    });

    it("has every session change and every sign-out that was acknowledged", async () => {
      await visitors.stop();
      await visitors.check();
      const { clicks } = visitors;
      figure(`${clicks.length} requests, ${clicks.filter(({ failed }) => !failed).length} acknowledged`);
      expect(visitors.wrongs).toEqual([]);
    });

    it("has let no call wait for longer than the time limit", () => {
      // The time of a request proves nothing. The browsers are in this process too. On a busy machine, a request also
      // waits for its connection and for many turns of the event loop.
      const slowest = Math.max(...visitors.clicks.map(({ ms }) => ms));
      figure(`slowest call ${Math.round(slowestCall)} ms, slowest request ${Math.round(slowest)} ms`);
      expect(slowestCall).toBeLessThan(timeoutMs + eventLoop.heldUpMs + MARGIN_MS);
    });
  });
}

/** Reports the duration of each store call of express-session. */
function timeCalls(store: EtcdStore, took: (ms: number) => void): void {
  for (const name of ["get", "set", "touch", "destroy"] as const) {
    const method = store[name].bind(store) as (...args: unknown[]) => unknown;
    Object.assign(store, {
      [name]: (...args: unknown[]) => {
        const start = performance.now();
        const callback = args.at(-1);
        if (typeof callback !== "function") return method(...args);
        return method(...args.slice(0, -1), (...outcome: unknown[]) => {
          took(performance.now() - start);
          callback(...outcome);
        });
      },
    });
  }
}

/** Revokes every lease right after its first grant. Returns the revoked leases. */
function loseLeases(client: Etcd3): Set<unknown> {
  const lost = new Set<unknown>();
  const { leaseClient } = client;
  const grant = leaseClient.leaseGrant.bind(leaseClient);
  leaseClient.leaseGrant = async (request, options) => {
    const answer = await grant(request, options);
    if (!lost.has(request.ID)) {
      lost.add(request.ID);
      await leaseClient.leaseRevoke({ ID: String(request.ID) });
    }
    return answer;
  };
  return lost;
}

function inMinutes(minutes: number): Date {
  return new Date(Date.now() + minutes * 60_000);
}
