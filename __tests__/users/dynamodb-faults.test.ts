import { randomUUID } from "node:crypto";
import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { plain, requestSession, sids, stored } from "../../lib/conformance/sessions.js";
import { assertDevices, devicesOf, signIn, signInAll, userOf } from "../../lib/conformance/user-sessions.js";
import { DynamoDBStore, type DynamoDBStoreOptions } from "../../lib/dynamodb.js";
import type { StoreOptions } from "../../lib/index.js";
import { dynamodbClient } from "../helpers/engines/engines.js";
import { historyOptions } from "../helpers/model/user-histories.js";
import { runOn } from "../helpers/model/user-runs.js";
import { loseAnswer, performTwice, type Traffic, trafficOfDynamoDB } from "../helpers/stores/counting.js";
import { entriesOf } from "../helpers/stores/users.js";

const tableName = `test-${randomUUID()}`;
let client: DynamoDBClient;
let traffic: Traffic;
let prefix: string;

beforeAll(async () => {
  client = dynamodbClient();
  traffic = trafficOfDynamoDB(client);
  await new DynamoDBStore({ client, tableName }).createTable();
});
afterAll(() => client.destroy());
beforeEach(() => {
  prefix = `${randomUUID()}:`;
});
afterEach(() => {
  expect(traffic.forgetAwaited()).toEqual([]);
});

const open = (options: Partial<DynamoDBStoreOptions> = {}) =>
  new DynamoDBStore({ user: userOf, touchAfter: 0, client, tableName, prefix, ...options });

/** DynamoDB's response to a transaction that it has canceled. */
function canceled(...codes: string[]) {
  const CancellationReasons = codes.map(Code => ({ Code, ...(Code !== "None" && { Message: Code }) }));
  const __type = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
  return async () => ({
    statusCode: 400,
    body: { __type, message: "Transaction cancelled", CancellationReasons },
  });
}

/** Errors after which the SDK repeats a request. */
const timeout = () => Object.assign(new Error("lost"), { name: "TimeoutError" });

const refused = (type: string) => async () => ({
  statusCode: 400,
  body: { __type: `com.amazonaws.dynamodb.v20120810#${type}`, message: type },
});

describe("sign-ins to DynamoDB", () => {
  it.each([
    ["TransactionConflict", "None"],
    ["None", "TransactionConflict"],
    ["TransactionConflict", "TransactionConflict"],
    ["None", "ThrottlingError"],
    ["ProvisionedThroughputExceeded", "None"],
  ])("are sent again if the transaction is canceled for %s, %s", async (...codes) => {
    const store = open({ maxSessionsPerUser: { max: 1 } });
    await signIn(store, "s", "ann");
    for (let count = 0; count < 3; count++) traffic.next("TransactWriteItems", canceled(...codes));
    await signIn(store, "t", "ann");
    await assertDevices(store, { ann: ["t"] });
  });

  it("end with a timeout if transactions are canceled again and again", async () => {
    const store = open({ timeoutMs: 300 });
    for (let count = 0; count < 100; count++) {
      traffic.next("TransactWriteItems", canceled("None", "TransactionConflict"));
    }
    await expect(signIn(store, "s", "ann")).rejects.toMatchObject({ code: "ERR_STORE_TIMEOUT" });
    expect(traffic.forgetAwaited().length).toBeGreaterThan(50);
    await assertDevices(open(), { ann: [] });
  });

  it("are counted once although the response is lost", async () => {
    for (const onExceeded of ["reject", "end-oldest"] as const) {
      const store = open({ maxSessionsPerUser: { max: 1, onExceeded } });
      for (const [index, interference] of [performTwice, loseAnswer(timeout())].entries()) {
        const sid = `${onExceeded}${index}`;
        traffic.next("TransactWriteItems", interference);
        await signIn(store, sid, "ann");
        await assertDevices(store, { ann: [sid] });
        expect(await entriesOf(store, "ann")).toEqual([sid]);
        await store.destroyByUser("ann");
      }
    }
  });

  it("whose response never comes are recognized by the next save", async () => {
    const store = open({ maxSessionsPerUser: { max: 1, onExceeded: "reject" } });
    const session = requestSession(store, "s", plain({ user: "ann", device: "s" }));
    for (let attempt = 0; attempt < 10; attempt++) {
      traffic.next("TransactWriteItems", loseAnswer(timeout()));
    }
    await expect(store.set("s", session)).rejects.toMatchObject({ code: "ERR_STORE_UNAVAILABLE" });
    traffic.forgetAwaited();
    await store.set("s", Object.assign(session, { cart: 1 }));
    expect(await stored(store, "s")).toMatchObject({ cart: 1 });
    await assertDevices(store, { ann: ["s"] });
    expect(await entriesOf(store, "ann")).toEqual(["s"]);
  });

  it("do not fail listings and removals that meet them", async () => {
    const store = open();
    await signInAll(store, "ann", "s", "t");
    await store.destroy("s");
    traffic.next("TransactGetItems", canceled("TransactionConflict"));
    traffic.next("TransactGetItems", canceled("TransactionConflict"));
    traffic.next("UpdateItem", refused("TransactionConflictException"));
    await assertDevices(store, { ann: ["t"] });
    expect(await entriesOf(store, "ann")).toEqual(["t"]);
    traffic.next("PutItem", refused("TransactionConflictException"));
    expect(await store.destroyByUser("ann")).toBe(1);
  });
});

it("a first save that was repeated and then met a transaction does not bring back what was destroyed", async () => {
  const own = dynamodbClient();
  const [store, other] = [open({ user: undefined }), open({ user: undefined, client: own })];
  traffic.next("PutItem", loseAnswer(timeout()));
  traffic.next("PutItem", async () => {
    await other.destroy("s");
    return await refused("TransactionConflictException")();
  });
  await store.set("s", requestSession(store, "s", plain({ user: "ann" })));
  expect(await store.get("s")).toBeNull();
  own.destroy();
});

describe("a user with 300 sessions in DynamoDB", () => {
  it("is listed and ended, and 300 ended ones leave nothing", async () => {
    const store = open({ timeoutMs: 30_000 });
    const names = sids(300);
    for (let from = 0; from < 300; from += 30) {
      await Promise.all(names.slice(from, from + 30).map(sid => signIn(store, sid, "ann")));
    }
    expect((await devicesOf(store, "ann")).length).toBe(300);
    await store.clear();
    await signIn(store, "last", "ann");
    expect(await store.countByUser("ann")).toBe(1);
    expect(await entriesOf(store, "ann")).toEqual(["last"]);
    expect(await store.destroyByUser("ann")).toBe(1);
  });
});

describe("random histories of users in DynamoDB keep all promises", () => {
  const document = (options: Parameters<typeof DynamoDBDocumentClient.from>[1]) => () =>
    DynamoDBDocumentClient.from(dynamodbClient(), options);
  const attributes = { id: "pk", data: "payload", ttl: "until", user: "owner", version: "ver" };
  const variants: [string, Partial<DynamoDBStoreOptions>, (() => DynamoDBDocumentClient) | undefined][] = [
    ["consistentRead: false", { consistentRead: false }, undefined],
    ["compression", { compression: "deflate" }, undefined],
    [
      "encryption and hashIds",
      { encryption: { keys: [Buffer.alloc(32, 1)] }, hashIds: { secret: "s".repeat(32) } },
      undefined,
    ],
    ["wrapNumbers", {}, document({ unmarshallOptions: { wrapNumbers: true } })],
    ["convertEmptyValues", {}, document({ marshallOptions: { convertEmptyValues: true } })],
    ["removeUndefinedValues", {}, document({ marshallOptions: { removeUndefinedValues: true } })],
    ["other attributes", { attributes, tableName: `test-${randomUUID()}` }, undefined],
  ];

  it.each(variants)("with %s", async (_name, variant, connect) => {
    const options = { client, tableName, ...variant, ...(connect && { client: connect() }) };
    if (variant.tableName !== undefined) await new DynamoDBStore(options).createTable();
    for (const limit of [undefined, { max: 2 }] satisfies StoreOptions["maxSessionsPerUser"][]) {
      const openAll = (inner: string) =>
        [0, 1].map(
          () => new DynamoDBStore({ ...historyOptions({ limit }), ...options, prefix: prefix + inner }),
        );
      await runOn(openAll, { seed: 7, count: 2, limit });
    }
  });
});
