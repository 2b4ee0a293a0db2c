import { chmod } from "node:fs/promises";
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { DeleteTableCommand } from "@aws-sdk/client-dynamodb";
import { Etcd3 } from "etcd3";
import { checkClock } from "../../lib/cli/doctor/check.js";
import { createStore } from "../../lib/index.js";
import { dynamodbClient, startEtcd } from "../helpers/engines/engines.js";
import {
  type CliResult,
  cli,
  dynaliteBackend,
  dynamodbBackend,
  etcdBackend,
  fileBackend,
  jsonLines,
  seed,
  useFolder,
} from "../helpers/processes/cli.js";

const folder = useFolder();

/** Returns the message of a check, by its name. If several have the same name, then the last one. */
function checksIn({ stdout }: CliResult): Record<string, string> {
  return Object.fromEntries(
    jsonLines(stdout).map(({ check, status, detail }) => [check, `${status}: ${detail}`]),
  );
}

const versions = {
  package: expect.stringMatching(/^ok: express-session-stores /),
  node: `ok: Node.js ${process.versions.node}`,
};

describe("the doctor on a file", () => {
  it("looks at permissions, readers, size and space", async () => {
    const url = await fileBackend.create(folder());
    await seed(url);
    const result = await cli(["doctor", "-s", url, "--json"]);
    expect(result.code).toBe(0);
    expect(checksIn(result)).toMatchObject({
      ...versions,
      lmdb: expect.stringMatching(/^ok: 3\./),
      ping: expect.stringMatching(/^ok: [\d.]+ ms$/),
      permissions: expect.stringMatching(/^ok: .* \(mode 600\)$/),
      readers: expect.stringMatching(/^ok: \d+ of 4096 places/),
      snapshots: expect.stringMatching(/^ok: /),
      space: expect.stringMatching(/free, the file has/),
      "file system": expect.any(String),
    });
    expect(result.stderr).toMatch(/^Checking the file .*\n0 problem\(s\), \d warning\(s\)\n$/);
    const path = url.slice("file:".length);
    await chmod(path, 0o644);
    const open = await cli(["doctor", "-s", url]);
    expect(open.code).toBe(0);
    expect(open.stdout).toMatch(/^warning {2}permissions: .* mode 644 .*\n {9}chmod 600 /m);
  });

  it("counts the readers of other processes", async () => {
    const url = await fileBackend.create(folder());
    await seed(url);
    const store = createStore(url);
    await store.get("sid-of-ada-1");
    const checks = checksIn(await cli(["doctor", "-s", url, "--json"]));
    await store.close();
    expect(checks.readers).toMatch(/by 2 process\(es\)/);
  });
});

describe("the doctor on etcd", () => {
  it("looks at members, clock, version, quota, alarms and compaction", async () => {
    const url = await etcdBackend.create(folder());
    const result = await cli(["doctor", "-s", url, "--json"]);
    expect(result.code).toBe(0);
    expect(checksIn(result)).toMatchObject({
      ...versions,
      etcd3: expect.stringMatching(/^ok: 1\./),
      member: expect.stringMatching(/^ok: http:\/\/127\.0\.0\.1:\d+: etcd 3\./),
      clock: expect.stringMatching(/^ok: as http:.* within 1\.5 s$/),
      version: expect.stringMatching(/^ok: etcd 3\./),
      leader: expect.stringMatching(/^ok: member /),
      quota: expect.stringMatching(/% of 2 GB$/),
      alarms: "ok: none",
      compaction: expect.stringMatching(/revisions/),
    });
  });

  it("finds an alarm, and what was compacted", async () => {
    const own = await startEtcd();
    const client = new Etcd3({ hosts: own.endpoint });
    try {
      for (let count = 0; count < 50; count++) await client.put("key").value(String(count));
      const { header } = await client.kv.range({ key: Buffer.from("key") });
      await client.kv.compact({ revision: String(Number(header.revision) - 7) });
      const { member_id: memberID } = header;
      await client.maintenance.alarm({ action: "Activate", memberID, alarm: "Nospace" } as never);
      const url = own.endpoint.replace("http:", "etcd:");
      const result = await cli(["doctor", "-s", `${url}/x`, "--json"]);
      expect(result.code).toBe(1);
      expect(checksIn(result)).toMatchObject({
        alarms: expect.stringMatching(/^problem: nospace$/i),
        compaction: `ok: 7 revisions are kept of ${header.revision}`,
      });
    } finally {
      client.close();
      await own.stop();
    }
  });

  it("says of a cluster that is down which members are", async () => {
    const result = await cli([
      "doctor",
      "-s",
      "etcd://root:PASSWORD@127.0.0.1:1,127.0.0.1:2/x?timeoutMs=500",
    ]);
    expect(result.code).toBe(1);
    expect(result.stdout).toMatch(/^problem {2}ping: /m);
    expect(result.stdout).toMatch(/^problem {2}member: http:\/\/127\.0\.0\.1:2: connect ECONNREFUSED/m);
    expect(result.stdout + result.stderr).not.toContain("PASSWORD");
  });
});

describe("the doctor on DynamoDB", () => {
  let proxy: Server | undefined;
  afterEach(() => {
    proxy?.close();
    proxy?.closeAllConnections();
    proxy = undefined;
  });

  /** A proxy in front of dynalite that rejects some actions, and whose clock may be wrong. Resolves with a URL. */
  async function refusing(url: string, actions: readonly string[], clockMs = 0): Promise<string> {
    const { hostname, port } = new URL(/endpoint=(.*)$/.exec(url)?.[1] as string);
    proxy = createServer((incoming, outgoing) => {
      const target = String(incoming.headers["x-amz-target"]).split(".")[1] as string;
      const date = new Date(Date.now() + clockMs).toUTCString();
      if (actions.includes(target)) {
        const body = { __type: "com.amazon.coral.service#AccessDeniedException", Message: "not authorized" };
        incoming.resume();
        outgoing
          .writeHead(400, { "content-type": "application/x-amz-json-1.0", date })
          .end(JSON.stringify(body));
        return;
      }
      const options = { hostname, port, method: "POST", headers: incoming.headers };
      const forwarded = request(options, response => {
        outgoing.writeHead(response.statusCode as number, { ...response.headers, date });
        response.pipe(outgoing);
      });
      incoming.pipe(forwarded);
    });
    await new Promise<void>(resolve => proxy?.listen(0, "127.0.0.1", resolve));
    return url.replace(/endpoint=.*/, `endpoint=http://127.0.0.1:${(proxy.address() as AddressInfo).port}`);
  }

  it("looks at the table, its TTL and all permissions, and writes nothing", async () => {
    const url = await dynamodbBackend.create(folder());
    const result = await cli(["doctor", "-s", url, "--json"]);
    expect(result.code).toBe(0);
    expect(checksIn(result)).toMatchObject({
      ...versions,
      "@aws-sdk/client-dynamodb": expect.stringMatching(/^ok: 3\./),
      "@aws-sdk/lib-dynamodb": expect.stringMatching(/^ok: 3\./),
      region: "ok: us-east-1",
      table: expect.stringMatching(/^ok: cli-.*, key "id", 0 items/),
      ttl: 'ok: ENABLED on "ttl"',
      permissions: "ok: GetItem, BatchGetItem, PutItem, UpdateItem, Scan, DeleteItem",
    });
    expect(checksIn(await cli(["doctor", "-s", url, "--json"])).table).toContain(" 0 items");
  });

  it("finds TTL on another attribute, and a table that is not there", async () => {
    const url = await dynamodbBackend.create(folder());
    const other = await cli(["doctor", "-s", `${url}&attributes.ttl=expires`, "--json"]);
    expect(other.code).toBe(1);
    expect(checksIn(other).ttl).toMatch(/^problem: on "ttl", but the store writes "expires"/);
    const client = dynamodbClient();
    await client.send(new DeleteTableCommand({ TableName: /us-east-1\/(.+)\?/.exec(url)?.[1] }));
    client.destroy();
    const missing = await cli(["doctor", "-s", url]);
    expect(missing.code).toBe(1);
    expect(missing.stdout).toMatch(
      /problem {2}ping: The DynamoDB table .* does not exist[\s\S]*\n {9}Run the command setup\.\n$/,
    );
  });

  it("names the permissions that are missing: a problem if requests need them, else a warning", async () => {
    const url = await dynaliteBackend.create(folder());
    const warned = await cli([
      "doctor",
      "-s",
      await refusing(url, ["Scan", "DescribeTable", "DescribeTimeToLive"]),
      "--json",
    ]);
    expect(warned.code).toBe(0);
    expect(checksIn(warned)).toMatchObject({
      table: expect.stringMatching(/^unknown: not allowed to look \(DescribeTable\)/),
      ttl: expect.stringMatching(/^unknown: not allowed to look/),
      "permission Scan": "warning: rejected (AccessDeniedException): listings, length and clear fail",
      permissions: "ok: GetItem, BatchGetItem, PutItem, UpdateItem, DeleteItem",
    });
    proxy?.close();
    const refused = await cli(["doctor", "-s", await refusing(url, ["GetItem", "UpdateItem"]), "--json"]);
    expect(refused.code).toBe(1);
    expect(checksIn(refused)).toMatchObject({
      ping: expect.stringMatching(/^problem: /),
      "permission GetItem": expect.stringMatching(/^problem: rejected/),
      "permission UpdateItem": expect.stringMatching(/^problem: rejected/),
    });
  });

  it("compares the clocks", async () => {
    const url = await dynaliteBackend.create(folder());
    const wrong = await cli(["doctor", "-s", await refusing(url, [], 120_000), "--json"]);
    expect(wrong.code).toBe(1);
    expect(checksIn(wrong).clock).toMatch(/^problem: 1(19|20) s behind DynamoDB's$/);
  });
});

describe("the difference of two clocks", () => {
  const date = "Thu, 01 Jan 2026 00:00:00 GMT";
  const at = Date.parse(date) + 500;

  it.each([
    [0, "ok", "as X's, within 1.5 s"],
    [5000, "ok", "5 s ahead of X's"],
    [-12_000, "warning", "12 s behind X's"],
    [90_000, "problem", "90 s ahead of X's"],
  ])("of %d ms is of the status %s", (ms, status, detail) => {
    expect(checkClock(date, at + ms - 40, at + ms + 40, "X")).toMatchObject({ status, detail });
  });

  it("is unknown without a date", () => {
    expect(checkClock(undefined, at, at, "X")).toMatchObject({ status: "unknown" });
  });
});
