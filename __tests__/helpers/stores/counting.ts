import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import type { Etcd3 } from "etcd3";

/** The content of a request or of its response, in the wire format. */
// biome-ignore lint/suspicious/noExplicitAny: the tests know what they ask for
export type Message = Record<string, any>;

export interface Request {
  name: string;
  input: Message;
  /** The error of the request, if it failed. */
  error?: unknown;
}

/** Replaces one request of a client. It can perform the request once, twice or not at all, or change the response. */
export type Interference = (perform: () => Promise<Message>, input: Message) => Promise<Message>;

/** The requests of a client, and a place to interfere with them. */
export class Traffic {
  readonly #requests: Request[] = [];
  readonly #interferences = new Map<string, Interference[]>();
  #onRequest: ((request: Request) => void) | undefined;

  /** Calls `listener` for each request, in the context in which it is sent, and records no requests. */
  listen(listener: (request: Request) => void): void {
    this.#onRequest = listener;
  }

  /** Returns the names of the requests that `work` sends. */
  async during(work: () => unknown): Promise<string[]> {
    return (await this.requestsDuring(work)).map(({ name }) => name);
  }

  /** Returns the requests that `work` sends. */
  async requestsDuring(work: () => unknown): Promise<Request[]> {
    const from = this.#requests.length;
    await work();
    return this.#requests.slice(from);
  }

  /** Interferes with the next request of that name. If called again, then with the request after that. */
  next(name: string, interference: Interference): void {
    this.#interferences.set(name, [...(this.#interferences.get(name) ?? []), interference]);
  }

  /** Forgets the interferences whose requests were not sent, and returns the names of these requests. */
  forgetAwaited(): string[] {
    const awaited = [...this.#interferences].flatMap(([name, left]) => left.map(() => name));
    this.#interferences.clear();
    return awaited;
  }

  async carry(name: string, input: Message, perform: () => Promise<Message>): Promise<Message> {
    const request: Request = { name, input };
    if (this.#onRequest === undefined) this.#requests.push(request);
    else this.#onRequest(request);
    const interference = this.#interferences.get(name)?.shift();
    try {
      return await (interference ? interference(perform, input) : perform());
    } catch (error) {
      request.error = error;
      throw error;
    }
  }
}

/** Performs a request twice, like a client that sends it again because the response was lost. */
export const performTwice: Interference = async perform => {
  await perform();
  return await perform();
};

/** Performs a request, but loses its response. */
export function loseAnswer(error: Error): Interference {
  return async perform => {
    await perform();
    throw error;
  };
}

const etcdMethods = {
  kv: ["range", "put", "deleteRange", "txn", "compact"],
  leaseClient: ["leaseGrant", "leaseRevoke", "leaseTimeToLive", "leaseLeases"],
} as const;

/** The calls of a client of etcd, by the names of its methods. */
export function trafficOfEtcd(client: Etcd3): Traffic {
  const traffic = new Traffic();
  for (const [part, names] of Object.entries(etcdMethods)) {
    const methods = client[part as keyof typeof etcdMethods] as unknown as Record<
      string,
      (input: Message, ...more: unknown[]) => Promise<Message>
    >;
    for (const name of names) {
      const method = methods[name]?.bind(methods);
      methods[name] = (input, ...more) =>
        traffic.carry(name, input, () => method?.(input, ...more) as Promise<Message>);
    }
  }
  return traffic;
}

interface HttpRequest {
  headers: Record<string, string>;
  body: Uint8Array;
}

interface HttpResponse {
  statusCode: number;
  body: AsyncIterable<Buffer>;
}

/**
 * The HTTP requests of a DynamoDB client, by the names of the operations, with the JSON of the wire format. A response
 * is `{ statusCode, body }`. A request that the SDK repeats is counted again.
 */
export function trafficOfDynamoDB(client: DynamoDBClient): Traffic {
  const traffic = new Traffic();
  client.middlewareStack.add(
    next => async args => {
      const { headers, body } = args.request as HttpRequest;
      const name = headers["x-amz-target"]?.split(".")[1] as string;
      // Not `Buffer.from(body)`, because the SDK prints a warning for it.
      const input = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString());
      const answer = await traffic.carry(name, input, async () => {
        const { statusCode, body } = (await next(args)).response as HttpResponse;
        return { statusCode, body: JSON.parse(await textOf(body)) };
      });
      const { statusCode } = answer;
      return { response: { statusCode, headers: {}, body: Buffer.from(JSON.stringify(answer.body)) } };
    },
    // The innermost position, within the SDK's own retries.
    { step: "deserialize", priority: "low", name: "traffic" },
  );
  return traffic;
}

async function textOf(body: unknown): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of body as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
