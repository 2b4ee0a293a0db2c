import { once } from "node:events";
import { Agent, createServer, type IncomingHttpHeaders, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { FaultProxy } from "./fault-proxy.js";

const READS = /^(Get|BatchGet|TransactGet|Query|Scan|Describe|List)/;
/**
 * Shorter than the time after which engines close an idle connection. The next request on a closed connection would
 * fail.
 */
const IDLE_MS = 1000;

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** A proxy in front of dynalite or DynamoDB Local. */
export class DynamoDBProxy extends FaultProxy {
  readonly #agent = new Agent({ keepAlive: true, timeout: IDLE_MS });
  readonly #server = createServer();

  override async start(target: string): Promise<string> {
    this.#server.on("request", async (inbound, response: ServerResponse) => {
      const body = await bodyOf(inbound).catch(() => undefined);
      // The client closed the connection before its request was complete.
      if (body === undefined) return;
      const name = String(inbound.headers["x-amz-target"]).split(".")[1] ?? "";
      await this.handle(
        { kind: READS.test(name) ? "read" : "write", name, body },
        {
          deliver: () => this.#send(target, inbound.headers, body),
          respond: answer => {
            const { status, headers, body: content } = answer as Answer;
            const length = { "content-length": content.length };
            response.writeHead(status, { ...endToEnd(headers), ...length }).end(content);
          },
          reset: () => response.destroy(),
        },
      );
    });
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  override async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    this.#agent.destroy();
    await closed;
  }

  async #send(target: string, headers: IncomingHttpHeaders, body: Buffer): Promise<Answer> {
    const outbound = request(target, {
      method: "POST",
      agent: this.#agent,
      headers: { ...endToEnd(headers), "content-length": body.length },
    });
    outbound.end(body);
    const [answer] = await once(outbound, "response");
    return { status: answer.statusCode, headers: answer.headers, body: await bodyOf(answer) };
  }
}

async function bodyOf(message: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Removes the headers that apply to one connection. */
function endToEnd(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const { connection, "keep-alive": keepAlive, "transfer-encoding": encoding, ...rest } = headers;
  return rest;
}
