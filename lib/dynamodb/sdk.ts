import { requirePeer } from "../support/optional-peer.js";

export const sdk = requirePeer<typeof import("@aws-sdk/client-dynamodb")>(
  "@aws-sdk/client-dynamodb",
  "dynamodb",
  () => require("@aws-sdk/client-dynamodb"),
);
export const lib = requirePeer<typeof import("@aws-sdk/lib-dynamodb")>(
  "@aws-sdk/lib-dynamodb",
  "dynamodb",
  () => require("@aws-sdk/lib-dynamodb"),
);
