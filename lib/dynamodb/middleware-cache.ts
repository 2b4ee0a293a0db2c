import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import type { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";

/** A command that is given up when the signal says so. */
export interface Cancellable {
  abortSignal?: AbortSignal;
}

type RequestHandler = DynamoDBClient["config"]["requestHandler"];

/**
 * A client of our own over an injected one that stays as it is, with the middleware that this has by now. It is for
 * the commands of `@aws-sdk/client-dynamodb`, not for those of lib-dynamodb.
 *
 * The SDK puts a command's middleware together anew for each request, which is a sixth of what a request costs, unless
 * the client says `cacheMiddleware` and the request has no options. So the abort signal, which is an option, goes with
 * the command instead: middleware gets the command, in the end with the HTTP request.
 */
export function clientOver(
  injected: DynamoDBClient,
  from: (client: DynamoDBClient) => DynamoDBDocumentClient,
): DynamoDBDocumentClient {
  const signals = new WeakMap<object, AbortSignal>();
  const middlewareStack = injected.middlewareStack.clone();
  middlewareStack.add(
    next => args => {
      const { request, abortSignal } = args as Cancellable & { request: object };
      if (abortSignal !== undefined) signals.set(request, abortSignal);
      return next(args);
    },
    { step: "deserialize", priority: "low", name: "expressSessionStoresSignal" },
  );
  const { requestHandler } = injected.config;
  const handle: RequestHandler["handle"] = (request, options) =>
    requestHandler.handle(request, { abortSignal: signals.get(request), ...options });
  const config = {
    ...injected.config,
    requestHandler: Object.create(requestHandler, { handle: { value: handle } }),
    cacheMiddleware: false,
  };
  const client = from({ config, middlewareStack } as DynamoDBClient);
  // After the check of lib-dynamodb, whose own commands cannot be cached.
  config.cacheMiddleware = true;
  return client;
}
