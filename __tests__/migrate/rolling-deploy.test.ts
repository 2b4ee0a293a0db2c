import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Stage } from "../../lib/migrate.js";
import { etcdEndpoints } from "../helpers/engines/engines.js";
import { Members } from "../helpers/migration/members.js";
import { RollingSite, type SiteStores } from "../helpers/migration/rolling-site.js";
import { seeded } from "../helpers/random.js";

/*
 * A site of two processes that goes through all stages and back under load. A process of the next stage replaces each
 * one while the other still runs, and while slow requests are in flight.
 */

const MEMBERS = 25;
const REQUESTS_PER_SECOND = 50;
const WAY: Stage[] = ["from-first", "to-first", "to", "to-first", "from-first", "from"];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "express-session-stores-rolling-"));
});
afterAll(() => rm(folder, { recursive: true }));

const sites: Record<string, () => SiteStores> = {
  "from connect-redis to etcd": () => ({
    from: { kind: "connect-redis", url: process.env.REDIS_URL, prefix: `${randomUUID()}:` },
    to: `etcd://${etcdEndpoints()[0]?.replace("http://", "")}/${randomUUID()}:`,
  }),
  "from session-file-store to a session file": () => ({
    from: { kind: "session-file-store", path: join(folder, "sessions") },
    to: `file:${join(folder, "sessions.lmdb")}`,
  }),
};

describe.each(Object.entries(sites))("%s", (_name, stores) => {
  it("nobody is signed out, no sign-out is undone and no change is lost", async () => {
    const site = new RollingSite(stores());
    await site.start("from");
    const members = new Members(site, MEMBERS, seeded(1));
    try {
      await members.signIn();
      const running = members.run(REQUESTS_PER_SECOND);
      await sleep(500);
      let stage: Stage = "from";
      for (const next of WAY) {
        // A session that nobody visits is in one store only.
        if (next === "to") await members.visitAll();
        if (stage === "to-first" && next === "from-first") await site.copyBack();
        stage = next;
        for (const index of [0, 1] as const) {
          members.beginSlowChanges(5, site.addresses[index] as string);
          await site.replace(index, next);
          await sleep(500);
        }
        await site.drained();
      }
      await members.stop();
      await running;
      await members.visitAll();
    } finally {
      await site.stop();
    }
    expect(members.wrongs).toEqual([]);
    // The load is what this test is about, so there must have been enough of it.
    const least = {
      visits: 200,
      changes: 100,
      slowChanges: 60,
      parallelChanges: 5,
      signOuts: 20,
      formerVisits: 50,
    };
    for (const [what, count] of Object.entries(least)) {
      expect([what, members.did[what as keyof typeof least] >= count]).toEqual([what, true]);
    }
  });
});
