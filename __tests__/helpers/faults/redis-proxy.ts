import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type Exchange, FaultProxy } from "./fault-proxy.js";

/** Commands for the connection, which are always forwarded. */
const CONNECTION = new Set(["AUTH", "CLIENT", "HELLO", "INFO", "PING", "QUIT", "READONLY", "SELECT"]);
const READS = /^(GET|MGET|HGET|HGETALL|HMGET|SCAN|EXISTS|TTL|PTTL|DBSIZE|KEYS|SMEMBERS|EVAL_RO|EVALSHA_RO)$/;

/**
 * A proxy in front of Redis, for commands outside MULTI and subscriptions. The protocol requires responses in the order
 * of the commands. Therefore a command without a response ends or stalls its connection, as `lostResponse` says.
 */
export class RedisProxy extends FaultProxy {
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer();

  override async start(target: string): Promise<string> {
    const { hostname, port } = new URL(target);
    const open = () => new Upstream(this.#keep(connect(Number(port), hostname)));
    this.#server.on("connection", client => {
      this.#keep(client);
      const upstream = open();
      let responses = Promise.resolve();
      client.on("close", () => upstream.end());
      eachValue(client, body => {
        const name = nameOf(body);
        let respond = (_response: Buffer) => {};
        const response = new Promise<Buffer>(resolve => {
          respond = resolve;
        });
        responses = responses.then(async () => void client.write(await response));
        const exchange: Exchange<Buffer> = {
          deliver: () => (upstream.isOpen ? upstream : open().end()).send(body),
          respond,
          // Not `resetAndDestroy`, because Node.js 20 then sometimes never exits, and waits for a write that was cut
          // off.
          reset: () => client.destroy(),
        };
        if (CONNECTION.has(name)) void exchange.deliver().then(respond, exchange.reset);
        else
          void this.handle({ kind: READS.test(name) ? "read" : "write", name, body }, exchange as Exchange);
      });
    });
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `redis://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  override async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  protected override onHold(exchange: Exchange): void {
    if (this.lostResponse === "reset") exchange.reset();
  }

  #keep(socket: Socket): Socket {
    this.#sockets.add(socket.setNoDelay());
    return socket.on("error", () => {}).on("close", () => this.#sockets.delete(socket));
  }
}

/** A connection to Redis that ends when it is no longer needed and all responses have arrived. */
class Upstream {
  isOpen = true;
  readonly #socket: Socket;
  readonly #waiting: { resolve(response: Buffer): void; reject(error: Error): void }[] = [];
  #isDone = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    eachValue(socket, value => {
      this.#waiting.shift()?.resolve(value);
      this.#endIfIdle();
    });
    socket.on("close", () => {
      this.isOpen = false;
      for (const { reject } of this.#waiting) reject(new Error("Redis has closed the connection"));
    });
  }

  send(command: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#socket.write(command);
    });
  }

  end(): this {
    this.#isDone = true;
    queueMicrotask(() => this.#endIfIdle());
    return this;
  }

  #endIfIdle(): void {
    if (!this.#isDone || this.#waiting.length > 0) return;
    this.isOpen = false;
    this.#socket.end();
  }
}

/** Calls back with each complete value of the protocol (RESP 2 or 3) that arrives, whether command or response. */
function eachValue(socket: Socket, onValue: (value: Buffer) => void): void {
  let buffer = Buffer.alloc(0);
  socket.on("data", chunk => {
    buffer = Buffer.concat([buffer, chunk]);
    for (let end = endOf(buffer, 0); end !== undefined; end = endOf(buffer, 0)) {
      onValue(buffer.subarray(0, end));
      buffer = buffer.subarray(end);
    }
  });
}

/** Returns where the value that begins at `start` ends, or `undefined` if the value is incomplete. */
function endOf(buffer: Buffer, start: number): number | undefined {
  const line = buffer.indexOf("\r\n", start);
  if (line < 0) return undefined;
  const type = String.fromCharCode(buffer[start] as number);
  const length = Number(buffer.toString("latin1", start + 1, line));
  let end: number | undefined = line + 2;
  if ("$=!".includes(type)) end += length < 0 ? 0 : length + 2;
  if (!"*~>%".includes(type)) return end <= buffer.length ? end : undefined;
  for (let left = type === "%" ? length * 2 : length; left > 0; left--) {
    end = endOf(buffer, end);
    if (end === undefined) return undefined;
  }
  return end;
}

/** Returns the first word of a command, which is an array of strings. */
function nameOf(command: Buffer): string {
  return (command.toString("latin1", 0, 64).split("\r\n")[2] ?? "").toUpperCase();
}
