import { peerError } from "../support/optional-peer.js";

export const sdk = loadClient();
export const lib = loadDocumentClient();

function loadClient(): typeof import("@aws-sdk/client-dynamodb") {
  try {
    return require("@aws-sdk/client-dynamodb");
  } catch (error) {
    throw peerError(error, "@aws-sdk/client-dynamodb", "dynamodb");
  }
}

function loadDocumentClient(): typeof import("@aws-sdk/lib-dynamodb") {
  try {
    return require("@aws-sdk/lib-dynamodb");
  } catch (error) {
    throw peerError(error, "@aws-sdk/lib-dynamodb", "dynamodb");
  }
}
