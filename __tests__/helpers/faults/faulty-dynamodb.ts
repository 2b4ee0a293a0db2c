import { once } from "node:events";
import { Agent, createServer, type IncomingHttpHeaders, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { below } from "../random.js";

const EXCEPTION = "com.amazonaws.dynamodb.v20120810#";

/** A request as the client sent it. */
interface Inbound {
  operation: string;
  headers: IncomingHttpHeaders;
  body: string;
}

interface Answer {
  status: number;
  body: string;
}

/** The faults that a request can have. */
const faults = {
  async throughputExceeded(_proxy: FaultyDynamoDB, _inbound: Inbound, response: ServerResponse) {
    refuse(response, 400, "ProvisionedThroughputExceededException");
  },
  async throttled(_proxy: FaultyDynamoDB, _inbound: Inbound, response: ServerResponse) {
    refuse(response, 400, "ThrottlingException");
  },
  async serverError(_proxy: FaultyDynamoDB, _inbound: Inbound, response: ServerResponse) {
    refuse(response, 500, "InternalServerError");
  },
  async unavailable(_proxy: FaultyDynamoDB, _inbound: Inbound, response: ServerResponse) {
    response.writeHead(503).end("<html>not even JSON</html>");
  },
  async requestDropped(_proxy: FaultyDynamoDB, _inbound: Inbound, response: ServerResponse) {
    response.destroy();
  },
  async answerLost(proxy: FaultyDynamoDB, inbound: Inbound, response: ServerResponse) {
    await proxy.forward(inbound);
    response.destroy();
  },
  async answerCutShort(proxy: FaultyDynamoDB, inbound: Inbound, response: ServerResponse) {
    const { status, body } = await proxy.forward(inbound);
    response.writeHead(status, { "content-length": Buffer.byteLength(body) });
    response.write(body.slice(0, body.length / 2), () => response.destroy());
  },
  async answerLate(proxy: FaultyDynamoDB, inbound: Inbound, response: ServerResponse) {
    const answer = await proxy.forward(inbound);
    await sleep(proxy.delayMs);
    send(response, answer);
  },
  async requestLate(proxy: FaultyDynamoDB, inbound: Inbound, response: ServerResponse) {
    await sleep(proxy.delayMs);
    send(response, await proxy.forward(inbound));
  },
  /** DynamoDB processes only a part of a batch, and the client has to send the rest again. */
  async partlyUnprocessed(proxy: FaultyDynamoDB, inbound: Inbound, response: ServerResponse) {
    send(response, await proxy.forwardPart(inbound));
  },
};

export type FaultName = keyof typeof faults;
export const faultNames = Object.keys(faults) as FaultName[];

/** A proxy between a client and an engine that makes some requests fail. */
export class FaultyDynamoDB {
  /** The share of requests that have a fault. */
  rate = 0;
  /** The number of requests for each fault. */
  readonly injected = Object.fromEntries(faultNames.map(name => [name, 0])) as Record<FaultName, number>;
  /** The delay of late requests and responses. */
  readonly delayMs: number;
  readonly #engine: URL;
  readonly #random: () => number;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #server = createServer((inbound, response) => {
    const chunks: Buffer[] = [];
    inbound.on("data", chunk => chunks.push(chunk));
    inbound.on("end", () => {
      const operation = String(inbound.headers["x-amz-target"]).split(".")[1] as string;
      const body = Buffer.concat(chunks).toString();
      void this.#handle({ operation, headers: inbound.headers, body }, response);
    });
  });
  #underWay = 0;

  constructor(engine: string, delayMs: number, random: () => number) {
    this.#engine = new URL(engine);
    this.delayMs = delayMs;
    this.#random = random;
  }

  async listen(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Waits until no request to the engine is in flight, however late. */
  async drained(): Promise<void> {
    while (this.#underWay > 0) await sleep(10);
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
    this.#agent.destroy();
  }

  async forward({ headers, body }: Inbound): Promise<Answer> {
    const outbound = request(this.#engine, {
      method: "POST",
      agent: this.#agent,
      headers: { ...headers, "content-length": Buffer.byteLength(body) },
    });
    outbound.end(body);
    const [answer] = await once(outbound, "response");
    const chunks: Buffer[] = [];
    for await (const chunk of answer) chunks.push(chunk);
    return { status: answer.statusCode, body: Buffer.concat(chunks).toString() };
  }

  async forwardPart(inbound: Inbound): Promise<Answer> {
    const { RequestItems, ...rest } = JSON.parse(inbound.body);
    const [table] = Object.keys(RequestItems) as [string];
    const all = RequestItems[table];
    const isRead = inbound.operation === "BatchGetItem";
    const items: unknown[] = isRead ? all.Keys : all;
    const count = below(items.length, this.#random);
    const part = (some: unknown[]) => ({ [table]: isRead ? { ...all, Keys: some } : some });
    const left = { [isRead ? "UnprocessedKeys" : "UnprocessedItems"]: part(items.slice(count)) };
    // DynamoDB rejects an empty batch.
    if (count === 0) return { status: 200, body: JSON.stringify({ Responses: {}, ...left }) };
    const answer = await this.forward({
      ...inbound,
      body: JSON.stringify({ ...rest, RequestItems: part(items.slice(0, count)) }),
    });
    return { ...answer, body: JSON.stringify({ ...JSON.parse(answer.body), ...left }) };
  }

  async #handle(inbound: Inbound, response: ServerResponse): Promise<void> {
    this.#underWay += 1;
    try {
      const name = this.#fault(inbound.operation);
      if (name === undefined) return send(response, await this.forward(inbound));
      this.injected[name] += 1;
      await faults[name](this, inbound, response);
    } catch {
      // The engine has closed a connection that was about to be reused.
      response.destroy();
    } finally {
      this.#underWay -= 1;
    }
  }

  #fault(operation: string): FaultName | undefined {
    if (this.#random() >= this.rate) return undefined;
    // Batches get more faults because there are few. Each contains all operations that wait at the same moment.
    if (operation.startsWith("Batch") && this.#random() < 0.7) return "partlyUnprocessed";
    const others = faultNames.filter(name => name !== "partlyUnprocessed");
    return others[below(others.length, this.#random)];
  }
}

function refuse(response: ServerResponse, status: number, name: string): void {
  send(response, { status, body: JSON.stringify({ __type: EXCEPTION + name, message: name }) });
}

function send(response: ServerResponse, { status, body }: Answer): void {
  response.writeHead(status, { "content-type": "application/x-amz-json-1.0" }).end(body);
}
