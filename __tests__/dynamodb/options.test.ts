import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { type DynamoDBAttributes, DynamoDBStore } from "../../lib/dynamodb.js";

describe("client", () => {
  it.each([undefined, null, "us-east-1", {}, { send: () => {} }, { send: () => {}, middlewareStack: {} }])(
    "is rejected with a TypeError if it is not one of the AWS SDK v3",
    wrong => {
      const create = () => new DynamoDBStore({ client: wrong as never });
      expect(create).toThrow(TypeError);
      expect(create).toThrow("Expected `client` to be a DynamoDBClient or DynamoDBDocumentClient");
    },
  );

  const client = new DynamoDBClient({ region: "us-east-1" });
  it.each([
    ["cacheMiddleware", () => new DynamoDBClient({ region: "us-east-1", cacheMiddleware: true })],
    [
      "convertWithoutMapWrapper",
      () => DynamoDBDocumentClient.from(client, { unmarshallOptions: { convertWithoutMapWrapper: false } }),
    ],
    [
      "wrapNumbers",
      () =>
        DynamoDBDocumentClient.from(client, {
          unmarshallOptions: { wrapNumbers: digits => ({ digits }) as never },
        }),
    ],
  ])("is rejected with the reason if document commands cannot work with it: %s", (reason, connect) => {
    const create = () => new DynamoDBStore({ client: connect() });
    expect(create).toThrow(TypeError);
    expect(create).toThrow(`but its \`${reason}\``);
  });

  it("does not show its credentials in an error", () => {
    const secretAccessKey = "top-secret";
    const credentials = { accessKeyId: "id", secretAccessKey };
    const wrong = new DynamoDBClient({ region: "us-east-1", credentials, cacheMiddleware: true });
    try {
      new DynamoDBStore({ client: wrong });
    } catch (error) {
      expect(String(error)).not.toContain(secretAccessKey);
    }
    expect.assertions(1);
  });
});

describe("options", () => {
  const client = new DynamoDBClient({ region: "us-east-1" });

  it.each<[string, unknown[]]>([
    ["tableName", ["", 42, null, "ab", "no spaces", "a".repeat(256)]],
    ["consistentRead", [0, "yes", null]],
    ["compression", [true, "gzip", 1, null]],
    [
      "attributes",
      [
        null,
        "id",
        { key: "sid" },
        { expires: "e" },
        { id: "" },
        { id: 1 },
        { id: "x", data: "x" },
        { id: "data" },
      ],
    ],
  ])("reject a bad `%s` with a TypeError", (name, values) => {
    for (const value of values) {
      const create = () => new DynamoDBStore({ client, [name]: value });
      expect(create).toThrow(TypeError);
      expect(create).toThrow(`Expected \`${name}\` to be `);
    }
  });

  it("have defaults that can be read", () => {
    const store = new DynamoDBStore({ client, tableName: undefined, attributes: undefined });
    expect(store.tableName).toBe("sessions");
    expect(store.attributes).toEqual({
      id: "id",
      data: "data",
      ttl: "ttl",
      lifetime: "l",
      activeAt: "a",
      created: "c",
      version: "v",
      user: "u",
    });
  });

  it("can be read as they were given, and not be changed afterwards", () => {
    const attributes: Partial<DynamoDBAttributes> = { id: "token" };
    const store = new DynamoDBStore({ client, tableName: "logins", attributes });
    attributes.id = "changed";
    expect(store.tableName).toBe("logins");
    expect(store.attributes).toMatchObject({ id: "token", data: "data", ttl: "ttl" });
    expect(() => Object.assign(store.attributes, { id: "changed" })).toThrow(TypeError);
  });
});
