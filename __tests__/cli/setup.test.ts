import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBStore } from "../../lib/dynamodb.js";
import { dynamodbClient } from "../helpers/engines/engines.js";
import {
  cli,
  dynamodbBackend,
  etcdHost,
  fileBackend,
  jsonLines,
  useFolder,
  userOf,
} from "../helpers/processes/cli.js";

const folder = useFolder();

const url = (table: string, query = "") =>
  `dynamodb://us-east-1/${table}?endpoint=${process.env.DYNAMODB_ENDPOINT}${query}`;

describe("setup", () => {
  it("creates the table with its TTL, and does no harm when it is there", async () => {
    const table = `setup-${Date.now()}`;
    expect((await cli(["ping", "-s", url(table)])).code).toBe(1);
    const created = await cli(["setup", "-s", url(table)]);
    expect(created).toEqual({
      code: 0,
      stdout: `The table ${table} is ready: partition key "id", TTL on "ttl".\n`,
      stderr: `Creating the table ${table} if it does not exist. This may take a minute.\n`,
    });
    const again = await cli(["setup", "-s", url(table), "--json"]);
    expect(jsonLines(again.stdout)).toEqual([{ store: "DynamoDBStore", table, isReady: true }]);
    expect((await cli(["ping", "-s", url(table)])).code).toBe(0);
    const other = await cli(["setup", "-s", url(table, "&attributes.id=pk")]);
    expect(other).toMatchObject({ code: 1, stdout: "" });
    expect(other.stderr).toMatch(
      /^Creating .*\nerror: The table ".*" has the key id, but the store needs the partition key "pk"/,
    );
  });

  it("says of other stores that there is nothing to set up, and creates nothing", async () => {
    const file = await fileBackend.create(folder());
    const text = "FileStore has nothing to set up: the first request creates the file and its folder.\n";
    expect((await cli(["setup", "-s", file])).stdout).toBe(text);
    expect((await cli(["ping", "-s", file])).code).toBe(1);
    const etcd = await cli(["setup", "-s", `etcd://${etcdHost()}/setup:`, "--json"]);
    expect(jsonLines(etcd.stdout)).toEqual([{ store: "EtcdStore", isNeeded: false }]);
  });
});

describe("the policy", () => {
  interface Policy {
    Version: string;
    Statement: { Sid: string; Effect: string; Action: string[]; Resource: string }[];
  }

  async function policy(store: string, ...options: string[]): Promise<Policy> {
    const { code, stdout, stderr } = await cli(["setup", "--policy", "-s", store, ...options]);
    expect([code, stderr]).toEqual([0, ""]);
    return JSON.parse(stdout);
  }

  const actionsOf = ({ Statement }: Policy) => Statement.flatMap(({ Action }) => Action).sort();

  /** The permissions for a store's requests. For a transaction, those of its parts. */
  async function sentBy(use: (client: DynamoDBClient) => Promise<void>): Promise<string[]> {
    const client = dynamodbClient();
    const actions = new Set<string>();
    client.middlewareStack.add(
      (next, { commandName }) =>
        async args => {
          const { TransactItems } = args.input as { TransactItems?: object[] };
          if (TransactItems === undefined) actions.add(String(commandName).replace(/Command$/, ""));
          else for (const item of TransactItems) actions.add(`${Object.keys(item)[0]}Item`);
          return await next(args);
        },
      { step: "initialize" },
    );
    await use(client);
    client.destroy();
    return [...actions].map(action => `dynamodb:${action}`).sort();
  }

  const session = (data: object = {}) => ({ cookie: { originalMaxAge: 60_000 }, ...data }) as never;

  /** Does everything that requests can make a store do. */
  async function useStore(store: DynamoDBStore): Promise<void> {
    await Promise.all(["one", "two", "three"].map(sid => store.set(sid, session({ user: "ada" }))));
    const [one, other] = await Promise.all([store.get("one"), store.get("one"), store.get("two")]);
    await store.set("one", Object.assign(one as object, { a: 1 }) as never);
    await store.set("one", Object.assign(other as object, { b: 1 }) as never);
    await store.touch("two", (await store.get("two")) as never);
    await store.destroy("three");
    await store.get("three");
    await store.ping();
  }

  async function useUsers(store: DynamoDBStore): Promise<void> {
    for await (const _ of store.findByUser("ada"));
    await store.updateByUser("ada", found => {
      Object.assign(found, { c: 1 });
    });
    const { value } = await store.findByUser("ada").next();
    await store.destroyByHandle("ada", value?.handle as string);
    await store.destroyByUser("ada");
    for (let round = 0; round < 30; round++) {
      await store.set(`round-${round}`, session({ user: "grace" }));
      await store.destroy(`round-${round}`);
    }
  }

  it.each([false, true])("has exactly what requests need (with the option user: %s)", async hasUsers => {
    const place = await dynamodbBackend.create(folder());
    const [, tableName] = /us-east-1\/(.+)\?/.exec(place) as unknown as [string, string];
    const options = { tableName, touchAfter: 0, ...(hasUsers && { user: userOf }) };
    const sent = await sentBy(async client => {
      const store = new DynamoDBStore({ client, ...options });
      await useStore(store);
      if (hasUsers) await useUsers(store);
    });
    const found = await policy(place);
    expect(sent).toEqual(actionsOf(found));
    expect(found.Statement).toEqual([
      expect.objectContaining({
        Sid: "SessionRequests",
        Effect: "Allow",
        Resource: `arn:aws:dynamodb:us-east-1:*:table/${tableName}`,
      }),
    ]);
    const listings = await sentBy(async client => {
      const store = new DynamoDBStore({ client, ...options });
      await useStore(store);
      await store.length();
      await store.ids();
      await store.all();
      await store.clear();
    });
    expect(listings).toEqual(actionsOf(await policy(place, "--listings")));
  });

  it("names the table by its ARN, in the partition of its region", async () => {
    const arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/sessions";
    const byArn = await policy(`dynamodb://eu-west-1/${encodeURIComponent(arn)}`);
    expect(byArn.Statement[0]?.Resource).toBe(arn);
    const china = await policy("dynamodb://cn-north-1/sessions");
    expect(china.Statement[0]?.Resource).toBe("arn:aws-cn:dynamodb:cn-north-1:*:table/sessions");
    const operator = await policy("dynamodb://eu-west-1/sessions", "--operator");
    expect(operator.Statement.map(({ Sid }) => Sid)).toEqual([
      "SessionRequests",
      "SessionListings",
      "SessionOperator",
    ]);
  });
});
