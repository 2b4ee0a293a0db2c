import type { DynamoDBAttributes } from "../dynamodb/options.js";
import { boolean, combine, type Reader, text } from "./parameters.js";
import type { Scheme } from "./scheme.js";
import { wrongUrl } from "./store-url.js";

/** Such as eu-west-1, us-gov-east-1, eusc-de-east-1. */
const AWS_REGION = /^[a-z]{2,}(-[a-z]+)+-\d+$/;
const ANY_REGION = /^[A-Za-z0-9-]{1,63}$/;

const endpoint: Reader<string> = (value, name) => {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol) && !url.username && !url.password) return value;
  // The value is not shown: it may have a password.
  throw new TypeError(
    `Expected \`${name}\` to be an http or https URL without credentials, such as http://127.0.0.1:8000`,
  );
};

const compression: Reader<string | false> = value => (value === "false" ? false : value);

const attributeReaders = {
  "attributes.id": text,
  "attributes.data": text,
  "attributes.ttl": text,
  "attributes.lifetime": text,
  "attributes.activeAt": text,
  "attributes.created": text,
  "attributes.version": text,
  "attributes.user": text,
} satisfies Record<`attributes.${keyof DynamoDBAttributes}`, Reader>;

/** `dynamodb://eu-west-1/sessions`, `dynamodb:///sessions` */
export const dynamodb: Scheme = {
  example: "dynamodb://eu-west-1/sessions",
  parameters: { endpoint, consistentRead: boolean, compression, ...attributeReaders },
  open({ scheme, authority, path }, { endpoint, ...values }, options) {
    if (authority === undefined) {
      throw wrongUrl(scheme, "has no `//`: expected `dynamodb://region/table` or `dynamodb:///table`");
    }
    if (authority.includes("@")) {
      throw wrongUrl(
        scheme,
        "has credentials. The AWS SDK finds them: in its environment variables, its files or the role of the machine",
      );
    }
    if (authority !== "" && !(endpoint === undefined ? AWS_REGION : ANY_REGION).test(authority)) {
      throw wrongUrl(
        scheme,
        "does not have a region such as `eu-west-1` after `//`. Expected `dynamodb://region/table`, or `dynamodb:///table` with the region of the AWS environment; an address is the parameter `endpoint`",
      );
    }
    const tableName = path.slice(1) || undefined;
    const { DynamoDBStore: Base } = require("../dynamodb.js") as typeof import("../dynamodb.js");
    const { sdk } = require("../dynamodb/sdk.js") as typeof import("../dynamodb/sdk.js");
    const client = new sdk.DynamoDBClient({
      ...(authority !== "" && { region: authority }),
      ...(endpoint !== undefined && { endpoint: endpoint as string }),
    });
    // It has the name of its base, which errors and diagnostics show.
    const OwningStore = class DynamoDBStore extends Base {
      protected override async _close(): Promise<void> {
        await super._close();
        client.destroy();
      }
    };
    return new OwningStore(combine({ ...values, tableName, client }, options));
  },
};
