import { digest } from "../../lib/core/hashed-ids.js";
import { createStore } from "../../lib/index.js";
import {
  type CliResult,
  cli,
  dynaliteBackend,
  dynamodbBackend,
  etcdBackend,
  fileBackend,
  jsonLines,
  SECRET_VALUE,
  seed,
  seeded,
  sidsIn,
  useFolder,
} from "../helpers/processes/cli.js";

const folder = useFolder();
const sids = Object.keys(seeded);
const without = (...gone: string[]) => sids.filter(sid => !gone.includes(sid)).sort();

function expectNothingSecret({ stdout, stderr }: CliResult): void {
  expect(stdout + stderr).not.toMatch(/sid-of-/);
  expect(stdout + stderr).not.toContain(SECRET_VALUE);
}

describe.each([fileBackend, etcdBackend, dynamodbBackend])("on $name", backend => {
  let url: string;
  /** DynamoDB Local deletes ended records within seconds, DynamoDB within days. */
  const hasTtl = backend === dynamodbBackend;
  const ended = hasTtl ? expect.any(Number) : 1;

  describe("reading", () => {
    beforeAll(async () => {
      url = await backend.create(folder());
      await seed(url);
    });

    it("ping says that the store can be used", async () => {
      const { code, stdout, stderr } = await cli(["ping", "-s", url, "--json"]);
      expect([code, stderr]).toEqual([0, ""]);
      expect(jsonLines(stdout)).toEqual([{ ok: true, ms: expect.any(Number) }]);
    });

    it("list shows each live session by the digest of its id, and takes the store from the environment", async () => {
      const result = await cli(["list", "--json"], { env: { SESSION_STORE: url } });
      expect(result.code).toBe(0);
      expectNothingSecret(result);
      const listed = jsonLines(result.stdout);
      expect(listed.map(({ sidHash }) => sidHash).sort()).toEqual(sids.map(digest).sort());
      const grace = listed.find(({ user }) => user === "grace@example.org");
      expect(grace).toMatchObject({ sidHash: digest("sid-of-grace"), lifetimeMs: 90 * 86_400_000 });
      expect(grace?.bytes).toBeGreaterThan(200_000);
      expect(Date.now() - Date.parse(String(grace?.activeAt))).toBeGreaterThan(9.9 * 86_400_000);
      expect(listed.filter(({ user }) => user === null)).toHaveLength(2);
      expect(result.stderr).toBe("5 listed\n");
    });

    it("list is a table for people, and shows ids when it is asked to", async () => {
      const result = await cli(["list", "-s", url, "--user", "grace@example.org"]);
      expect(result.stdout).toMatch(
        /^SID HASH .*ENDS .*USER\n\S{43}\s+195 KB {2}\S+Z {2}\S+Z {2}\S+Z {2}grace@example\.org\n$/,
      );
      expectNothingSecret(result);
      const { stdout } = await cli(["list", "-s", url, "--user", "grace@example.org", "--show-sids"]);
      expect(stdout).toContain("sid-of-grace");
      const json = await cli(["list", "-s", url, "--user", "ada", "--show-sids", "--json"]);
      expect(
        jsonLines(json.stdout)
          .map(({ sid }) => sid)
          .sort(),
      ).toEqual(["sid-of-ada-1", "sid-of-ada-2"]);
    });

    it.each([
      [["--anonymous"], ["sid-of-nobody-1", "sid-of-nobody-2"]],
      [
        ["--idle", "15d"],
        ["sid-of-ada-2", "sid-of-nobody-2"],
      ],
      [["--larger", "100KB"], ["sid-of-grace"]],
      [["--larger", "2KB", "--idle", "30d"], ["sid-of-ada-2"]],
      [["--created-before", "2020-01-01"], []],
      [["--created-before", new Date(Date.now() - 30 * 86_400_000).toISOString()], ["sid-of-ada-2"]],
      [["--user", "nobody"], []],
    ])("list shows the sessions that a filter chooses: %j", async (filter, expected) => {
      const { stdout } = await cli(["list", "-s", url, "--json", ...filter]);
      expect(
        jsonLines(stdout)
          .map(({ sidHash }) => sidHash)
          .sort(),
      ).toEqual(expected.map(digest).sort());
    });

    it("list stops at its limit, and says so", async () => {
      const { stdout, stderr } = await cli(["list", "-s", url, "--json", "--limit", "2"]);
      expect([jsonLines(stdout).length, stderr]).toEqual([2, "2 listed, and there are more\n"]);
    });

    it("show finds a session by its digest and by its id, and hides its values", async () => {
      for (const id of [digest("sid-of-ada-1"), "sid-of-ada-1"]) {
        const result = await cli(["show", id, "-s", url, "--json"]);
        expect(result).toMatchObject({ code: 0, stderr: "" });
        expectNothingSecret(result);
        expect(jsonLines(result.stdout)).toEqual([
          expect.objectContaining({
            sidHash: digest("sid-of-ada-1"),
            user: "ada",
            keys: { cookie: "object (2)", user: "string (3)", secret: "string (22)", filling: "string (10)" },
          }),
        ]);
      }
      const text = await cli(["show", digest("sid-of-ada-2"), "-s", url]);
      expectNothingSecret(text);
      expect(text.stdout).toMatch(
        /last used {2}\S+Z, 40 d ago\nends {7}\S+Z, 90 d after its last use\nkeys\n/,
      );
    });

    it("show tells what is asked for, and what is not there", async () => {
      const shown = await cli(["show", "sid-of-ada-1", "-s", url, "--show-values", "--show-sids", "--json"]);
      expect(jsonLines(shown.stdout)).toEqual([
        expect.objectContaining({
          sid: "sid-of-ada-1",
          session: expect.objectContaining({ secret: SECRET_VALUE }),
        }),
      ]);
      const text = await cli(["show", "sid-of-ada-1", "-s", url, "--show-values"]);
      expect(text.stdout).toContain(`  secret   "${SECRET_VALUE}"`);
      expect(await cli(["show", "nothing", "-s", url])).toEqual({
        code: 1,
        stdout: "",
        stderr: "error: There is no such session.\n",
      });
      const past = await cli(["show", "sid-of-the-past", "-s", url]);
      expect(past.code).toBe(1);
      if (!hasTtl) expect(past.stderr).toBe("error: The session has ended.\n");
    });

    it("stats counts sessions, sizes and times, and draws them", async () => {
      const { stdout } = await cli(["stats", "-s", url, "--json"]);
      expect(jsonLines(stdout)).toEqual([
        expect.objectContaining({
          sessions: 5,
          signedIn: 3,
          anonymous: 2,
          ended,
          destroyed: 0,
          unreadable: 0,
        }),
      ]);
      const [{ bytes, idleMs }] = jsonLines(stdout) as [
        { bytes: { max: number; ranges: object[] }; idleMs: { ranges: object[] } },
      ];
      expect(bytes.max).toBeGreaterThan(200_000);
      expect(bytes.ranges).toEqual([
        { below: 128, count: 3 },
        { below: 4096, count: 1 },
        { below: 262_144, count: 1 },
      ]);
      expect(idleMs.ranges).toHaveLength(3);
      const drawn = await cli(["stats", "-s", url, "--idle", "5d"]);
      expectNothingSecret(drawn);
      expect(drawn.stdout).toMatch(
        /^3 sessions, 2 signed in, 1 anonymous\n\nSize: .*\n(.*\n)+\nTime since last use: .*\n/,
      );
      expect(drawn.stdout).toMatch(/ < 30 d {2}2 {2}#{40}\n +< 90 d {2}1 {2}#{20}\n$/);
    });

    it("users counts, and lists the sessions of one", async () => {
      for (const args of [["users"], ["users", "list"]]) {
        const { stdout, stderr } = await cli([...args, "-s", url, "--json"]);
        expect(jsonLines(stdout)).toEqual([
          { user: "ada", sessions: 2 },
          { user: "grace@example.org", sessions: 1 },
        ]);
        expect(stderr).toBe("2 users; 2 sessions without a user\n");
      }
      const ada = await cli(["users", "ada", "-s", url, "--json"]);
      expectNothingSecret(ada);
      expect(
        jsonLines(ada.stdout)
          .map(({ sidHash }) => sidHash)
          .sort(),
      ).toEqual(["sid-of-ada-1", "sid-of-ada-2"].map(digest).sort());
    });

    it("nothing is removed by a dry run", async () => {
      for (const args of [
        ["clear"],
        ["destroy", "--idle", "5d"],
        ["destroy", "sid-of-ada-1"],
        ["users", "end", "ada"],
        ["sweep"],
      ]) {
        const result = await cli([...args, "--dry-run", "-s", url, "--json"]);
        expect(result.code).toBe(0);
        expectNothingSecret(result);
        expect(jsonLines(result.stdout)).toEqual([expect.objectContaining({ dryRun: true })]);
      }
      expect(jsonLines((await cli(["clear", "-n", "-s", url, "--json"])).stdout)).toEqual([
        { matched: 5, destroyed: 0, changed: 0, dryRun: true },
      ]);
      expect(jsonLines((await cli(["sweep", "-n", "-s", url, "--json"])).stdout)).toEqual([
        { ended, deleted: 0, dryRun: true },
      ]);
      expect(await sidsIn(url)).toEqual(without());
    });
  });

  describe("removing", () => {
    beforeEach(async () => {
      url = await backend.create(folder());
      await seed(url);
    });

    it("destroy ends the sessions with these ids and digests, and fails if one is not there", async () => {
      const result = await cli(["destroy", "sid-of-ada-1", digest("sid-of-grace"), "-s", url, "--json"]);
      expect(result.code).toBe(0);
      expectNothingSecret(result);
      expect(jsonLines(result.stdout)).toEqual([
        { sidHash: digest("sid-of-ada-1"), result: "destroyed", dryRun: false },
        { sidHash: digest("sid-of-grace"), result: "destroyed", dryRun: false },
      ]);
      expect(await sidsIn(url)).toEqual(without("sid-of-ada-1", "sid-of-grace"));
      const again = await cli(["destroy", "-", "-s", url], { input: "sid-of-ada-1\nsid-of-ada-2\n" });
      expect(again.code).toBe(1);
      expect(again.stdout).toBe(`${digest("sid-of-ada-1")}  absent\n${digest("sid-of-ada-2")}  destroyed\n`);
      // The sign-out is final. A request that loaded the session before cannot recreate it.
      const store = createStore(url);
      await store.set("sid-of-ada-2", { cookie: { originalMaxAge: 1000 } } as never);
      await store.close();
    });

    it("destroy and clear with filters end what they choose, with --yes", async () => {
      const result = await cli(["destroy", "--anonymous", "--idle", "5d", "-y", "-s", url, "--json"]);
      expect(result).toMatchObject({ code: 0, stderr: "" });
      expect(jsonLines(result.stdout)).toEqual([{ matched: 1, destroyed: 1, changed: 0, dryRun: false }]);
      expect(await sidsIn(url)).toEqual(without("sid-of-nobody-2"));
      const larger = await cli(["clear", "--larger", "1KB", "-y", "-s", url]);
      expect(larger.stdout).toBe("Destroyed 2 sessions.\n");
      expect(await sidsIn(url)).toEqual(["sid-of-ada-1", "sid-of-nobody-1"]);
      expect((await cli(["clear", "--larger", "1KB", "-y", "-s", url])).stdout).toBe(
        "There are no such sessions.\n",
      );
    });

    it("clear ends everything with --yes", async () => {
      const { code, stdout } = await cli(["clear", "--yes", "-s", url, "--json"]);
      expect(code).toBe(0);
      const [{ matched, destroyed }] = jsonLines(stdout) as [{ matched: number; destroyed: number }];
      expect(matched).toBe(5);
      // Includes the record of the ended session.
      expect(destroyed).toBeGreaterThanOrEqual(5);
      expect(await sidsIn(url)).toEqual([]);
    });

    it("without a terminal and --yes, nothing is destroyed that filters choose", async () => {
      for (const args of [["clear"], ["clear", "--user", "ada"], ["destroy", "--idle", "1d"]]) {
        const { code, stdout, stderr } = await cli([...args, "-s", url]);
        expect([code, stdout]).toEqual([2, ""]);
        expect(stderr).toMatch(/^error: Without a terminal nobody can confirm this/);
      }
      expect(await sidsIn(url)).toEqual(without());
    });

    it("users end ends the sessions of a user", async () => {
      const result = await cli(["users", "end", "ada", "-s", url, "--json"]);
      expect(result.code).toBe(0);
      expectNothingSecret(result);
      expect(jsonLines(result.stdout)).toEqual([{ matched: 2, destroyed: 2, dryRun: false }]);
      expect(result.stderr).toMatch(/^The store has no option `user`/);
      expect(await sidsIn(url)).toEqual(without("sid-of-ada-1", "sid-of-ada-2"));
    });

    it("sweep deletes what has ended, and nothing else", async () => {
      const { code, stdout } = await cli(["sweep", "-s", url, "--json"]);
      // On etcd, leases delete the record. The sweep deletes only those that have been left for an hour.
      const deleted = backend === fileBackend ? 1 : expect.any(Number);
      expect([code, jsonLines(stdout)]).toEqual([0, [{ deleted, dryRun: false }]]);
      expect(await sidsIn(url)).toEqual(without());
      const again = await cli(["sweep", "-s", url]);
      expect(again.stdout).toBe("Deleted 0 ended sessions.\n");
    });
  });
});

it("sweep deletes the items that DynamoDB has not deleted yet, and no others", async () => {
  const url = await dynaliteBackend.create(folder());
  // dynalite has no transactions, which users require.
  const options = { user: undefined };
  await seed(url, options);
  const store = createStore(url);
  await store.destroy("sid-of-ada-1");
  await store.close();
  expect((await cli(["sweep", "-s", url, "--dry-run"])).stdout).toBe(
    "1 session ended more than a minute ago.\n",
  );
  expect((await cli(["sweep", "-s", url])).stdout).toBe("Deleted 1 ended session.\n");
  expect(jsonLines((await cli(["stats", "-s", url, "--json"])).stdout)).toEqual([
    expect.objectContaining({ sessions: 4, ended: 0, destroyed: 1 }),
  ]);
});

it("--anonymous removes nothing where no session has a user", async () => {
  const url = await fileBackend.create(folder());
  await seed(url, { user: undefined });
  const result = await cli(["destroy", "--anonymous", "--yes", "-s", url]);
  expect(result).toMatchObject({ code: 1, stdout: "" });
  expect(result.stderr).toMatch(/^error: No session has a user: .* Nothing was destroyed\.\n$/);
  const { code, stdout, stderr } = await cli(["list", "--anonymous", "-s", url, "--json"]);
  expect([code, jsonLines(stdout).length]).toEqual([0, 5]);
  expect(stderr).toMatch(/^No session has a user/);
  expect(await sidsIn(url)).toEqual(without());
});

it("users are digests where ids are hashed with a secret, and are found by their names", async () => {
  const env = { SECRET: "a secret of the test" };
  Object.assign(process.env, env);
  const url = `${await fileBackend.create(folder())}?hashIds=env:SECRET`;
  await seed(url);
  const users = await cli(["users", "-s", url, "--json"], { env });
  expect(jsonLines(users.stdout)).toEqual([
    { user: expect.stringMatching(/^%s[\w-]{43}$/), sessions: 2 },
    { user: expect.stringMatching(/^%s[\w-]{43}$/), sessions: 1 },
  ]);
  const listed = await cli(["list", "-s", url, "--user", "ada", "--show-sids", "--json"], { env });
  const [ada, other] = jsonLines(listed.stdout) as [{ sid: string; sidHash: string }, object];
  expect(other).toBeDefined();
  // The only trace of the id.
  expect(ada.sid).toBe(ada.sidHash);
  const shown = await cli(["show", ada.sidHash, "-s", url, "--json"], { env });
  expect(shown).toMatchObject({ code: 0, stderr: "" });
  const destroyed = await cli(["destroy", ada.sidHash, "-s", url], { env });
  expect(destroyed.stdout).toBe(`${ada.sidHash}  destroyed\n`);
  expect((await cli(["show", "sid-of-grace", "-s", url], { env })).code).toBe(0);
  expect(await sidsIn(url)).toHaveLength(4);
});
