import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import type { Etcd3 } from "etcd3";

/** What a request carries, or its answer, as the wire has it. */
// biome-ignore lint/suspicious/noExplicitAny: the tests know what they ask for
export type Message = Record<string, any>;

export interface Request {
  name: string;
  input: Message;
  /** What it failed with, if it did. */
  error?: unknown;
}

/** Stands between a client and its engine for one request: performs it once, twice, not at all, or changes the answer. */
export type Interference = (perform: () => Promise<Message>, input: Message) => Promise<Message>;

/** What a client sends, and a place to interfere with it. */
export class Traffic {
  readonly #requests: Request[] = [];
  readonly #interferences = new Map<string, Interference[]>();
  #onRequest: ((request: Request) => void) | undefined;

  /** Calls `listener` for each request, in the context in which it is sent, and keeps none of them. */
  listen(listener: (request: Request) => void): void {
    this.#onRequest = listener;
  }

  /** The names of the requests that `work` sends. */
  async during(work: () => unknown): Promise<string[]> {
    return (await this.requestsDuring(work)).map(({ name }) => name);
  }

  /** The requests that `work` sends. */
  async requestsDuring(work: () => unknown): Promise<Request[]> {
    const from = this.#requests.length;
    await work();
    return this.#requests.slice(from);
  }

  /** Interferes with the next request of that name, or after earlier calls with the one after. */
  next(name: string, interference: Interference): void {
    this.#interferences.set(name, [...(this.#interferences.get(name) ?? []), interference]);
  }

  /** Forgets the interferences whose requests have not come, and returns the names of those. */
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

/** A request that is performed and sent again, since its answer was lost. */
export const performTwice: Interference = async perform => {
  await perform();
  return await perform();
};

/** A request that is performed, but whose answer is lost. */
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
 * The HTTP requests of a DynamoDB client, by the names of the operations, with the JSON that goes over the wire. An
 * answer is `{ statusCode, body }`. What the SDK sends again by itself is counted again.
 */
export function trafficOfDynamoDB(client: DynamoDBClient): Traffic {
  const traffic = new Traffic();
  client.middlewareStack.add(
    next => async args => {
      const { headers, body } = args.request as HttpRequest;
      const name = headers["x-amz-target"]?.split(".")[1] as string;
      // Not `Buffer.from(body)`, for which the SDK prints a warning.
      const input = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString());
      const answer = await traffic.carry(name, input, async () => {
        const { statusCode, body } = (await next(args)).response as HttpResponse;
        return { statusCode, body: JSON.parse(await textOf(body)) };
      });
      const { statusCode } = answer;
      return { response: { statusCode, headers: {}, body: Buffer.from(JSON.stringify(answer.body)) } };
    },
    // The innermost place: within the SDK's own retries.
    { step: "deserialize", priority: "low", name: "traffic" },
  );
  return traffic;
}

async function textOf(body: unknown): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of body as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
