import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { Agent, request } from "node:http";
import { join } from "node:path";

/** The application's store. */
export interface StoreChoice {
  kind: "memory" | "file" | "dynamodb" | "etcd";
  timeoutMs?: number;
  endpoint?: string;
  tableName?: string;
  path?: string;
}

/** An application in its own process: outage-app.cjs. */
export class AppProcess {
  readonly #process: ChildProcess;
  /** Rejects when the process ends. */
  readonly #ended: Promise<never>;
  #port = 0;

  private constructor(child: ChildProcess) {
    this.#process = child;
    let complaints = "";
    child.stderr?.setEncoding("utf8").on("data", text => {
      complaints += text;
    });
    this.#ended = once(child, "close").then(() => {
      throw new Error(`The application has ended: ${complaints}`);
    });
    // The process always ends later, so this rejection must not count as unhandled.
    this.#ended.catch(() => {});
  }

  static async start(choice: StoreChoice): Promise<AppProcess> {
    const child = fork(join(__dirname, "outage-app.cjs"), [JSON.stringify(choice)], {
      execArgv: ["--expose-gc"],
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    const app = new AppProcess(child);
    app.#port = (await app.#message<{ port: number }>()).port;
    return app;
  }

  /** Runs a task of the application between requests. */
  async do<T>(task: "measure" | "burst", options: object = {}): Promise<T> {
    const answer = this.#message<{ result: T }>();
    this.#process.send({ task, ...options });
    return (await answer).result;
  }

  /** Sends the requests of the list in turn, `atOnce` at a time. Returns the responses, as status and body. */
  async flood(calls: string[], count: number, atOnce: number, cookie: string): Promise<Set<string>> {
    const agent = new Agent({ keepAlive: true, maxSockets: atOnce });
    const answers = new Set<string>();
    let sent = 0;
    const lane = async () => {
      while (sent < count) {
        const call = calls[sent % calls.length] as string;
        sent += 1;
        const { status, body } = await this.#send(call, cookie, agent);
        answers.add(`${status} ${body}`);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, lane));
    agent.destroy();
    return answers;
  }

  /** Signs in, as soon as the backend is quick enough. Returns the cookie. */
  async signIn(user: string): Promise<string> {
    for (;;) {
      const { headers } = await this.#send(`POST /sign-in?user=${user}`, "", undefined);
      const cookie = headers["set-cookie"]?.[0]?.split(";")[0];
      if (cookie !== undefined) return cookie;
    }
  }

  async get(cookie: string): Promise<string> {
    const { status, body } = await this.#send("GET /", cookie, undefined);
    return `${status} ${body}`;
  }

  async stop(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#ended.catch(() => {});
  }

  async #message<T>(): Promise<T> {
    const [message] = await Promise.race([once(this.#process, "message"), this.#ended]);
    return message as T;
  }

  async #send(call: string, cookie: string, agent: Agent | undefined) {
    const [method, path] = call.split(" ") as [string, string];
    const outbound = request({
      host: "127.0.0.1",
      port: this.#port,
      method,
      path,
      agent,
      headers: { cookie },
    });
    outbound.end();
    const [response] = await once(outbound, "response");
    let body = "";
    for await (const chunk of response.setEncoding("utf8")) body += chunk;
    return { status: response.statusCode as number, headers: response.headers, body };
  }
}
