import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import connect from "connect";
import express from "express";
import session, { type SessionOptions, type Store } from "express-session";
import request, { type Response } from "supertest";

/** What Express 5, Express 4 and connect have in common, and all of them that is used here. */
type Framework = () => RequestListener & { use(middleware: unknown): unknown };

const frameworks = {
  "Express 5": express as unknown as Framework,
  "Express 4": require("express4") as Framework,
  connect: connect as unknown as Framework,
};

export type FrameworkName = keyof typeof frameworks;

type Fields = Record<string, unknown>;

export type AppRequest = IncomingMessage & {
  session: session.Session & session.SessionData & Fields;
};

/** What happens at a route; what it returns is the answer. The parameters are those of the query. */
export type Handler = (req: AppRequest, params: URLSearchParams, res: ServerResponse) => unknown;

export interface AppOptions extends Partial<SessionOptions> {
  framework?: FrameworkName;
  /** By method and path, besides the standard ones. */
  routes?: Record<string, Handler>;
  /** Told of what express-session and the routes pass to the error handler. */
  onError?: (error: unknown) => void;
}

/** Routes that every application has. Whoever is not signed in has no `user`. */
const standardRoutes: Record<string, Handler> = {
  "GET /": ({ session: { cookie: _cookie, ...fields } }) => fields,
  "POST /sign-in": async (req, params) => {
    await settled(done => req.session.regenerate(done));
    req.session.user = params.get("user");
  },
  "POST /sign-out": req => settled(done => req.session.destroy(done)),
  "POST /set": (req, params) => {
    Object.assign(req.session, Object.fromEntries(params));
  },
};

/** An application with express-session over `store`. The other options are those of express-session. */
export function createApp(store: Store, options: AppOptions = {}): RequestListener {
  const { framework = "Express 5", routes, onError, ...sessionOptions } = options;
  const app = frameworks[framework]();
  app.use(
    session({ secret: "keyboard cat", resave: false, saveUninitialized: false, store, ...sessionOptions }),
  );
  app.use(dispatch({ ...standardRoutes, ...routes }));
  // Known as an error handler by its four parameters.
  app.use((error: unknown, req: Partial<AppRequest>, res: ServerResponse, _next: unknown) => {
    onError?.(error);
    // The answer was on its way already.
    if (res.headersSent) return;
    // Or express-session would turn to the failing store once more.
    delete req.session;
    const { name, message, code } = error as Error & { code?: string };
    reply(res, 500, { name, message, code });
  });
  return app;
}

function dispatch(routes: Record<string, Handler>) {
  return (req: AppRequest, res: ServerResponse, next: (error: unknown) => void) => {
    const { pathname, searchParams } = new URL(req.url ?? "", "http://localhost");
    const handler = routes[`${req.method} ${pathname}`];
    if (handler === undefined) return next(new Error(`No route for ${req.method} ${pathname}`));
    (async () => reply(res, 200, (await handler(req, searchParams, res)) ?? null))().catch(next);
  };
}

function reply(res: ServerResponse, status: number, body: unknown): void {
  beginReply(res, status).end(JSON.stringify(body));
}

/** Sends the head of an answer whose body follows later, as that of a download does. */
export function beginReply(res: ServerResponse, status = 200): ServerResponse {
  if (res.headersSent) return res;
  res.writeHead(status, { "content-type": "application/json" });
  res.write(" ");
  return res;
}

/** express-session's methods take callbacks. */
export function settled(call: (done: (error?: unknown) => void) => unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    call(error => (error ? reject(error) : resolve()));
  });
}

/** Keeps the cookie of one session, and sends it also when it has expired. */
export class Browser {
  readonly app: RequestListener | string;
  cookie: string | undefined;
  userAgent: string | undefined;

  /** @param app - an application, or the address of a server */
  constructor(app: RequestListener | string, cookie?: string) {
    this.app = app;
    this.cookie = cookie;
  }

  /** Sends a request, such as "POST /sign-in?user=ada", and returns the answer, whatever it is. */
  async attempt(call: string, form?: Record<string, string>): Promise<Response> {
    const [method, path] = call.split(" ") as ["GET" | "POST", string];
    const test = method === "GET" ? request(this.app).get(path) : request(this.app).post(path);
    if (this.cookie !== undefined) test.set("Cookie", this.cookie);
    if (this.userAgent !== undefined) test.set("User-Agent", this.userAgent);
    if (form !== undefined) test.type("form").send(form);
    const response = await test;
    const cookie = setCookieOf(response)?.split(";")[0];
    if (cookie !== undefined) this.cookie = cookie;
    return response;
  }

  /** Sends a request that has to succeed. */
  async send(call: string): Promise<Response> {
    const response = await this.attempt(call);
    if (response.status !== 200) throw new Error(`${call} got ${response.status}: ${response.text}`);
    return response;
  }

  /** What the application has in this browser's session; an empty object if there is none. */
  async fields(): Promise<Fields> {
    return (await this.send("GET /")).body;
  }

  /** Another browser with the same cookie. */
  clone(app = this.app): Browser {
    return new Browser(app, this.cookie);
  }
}

export function setCookieOf(response: Response): string | undefined {
  return response.get("Set-Cookie")?.[0];
}

/** A place in the application where the test holds a request. */
export class Gate {
  /** Settles when a request is there. */
  readonly reached: Promise<void>;
  #reach = () => {};
  #opened: Promise<void>;
  #open = () => {};

  constructor() {
    this.reached = new Promise(resolve => {
      this.#reach = resolve;
    });
    this.#opened = new Promise(resolve => {
      this.#open = resolve;
    });
  }

  /** For the request. */
  pass(): Promise<void> {
    this.#reach();
    return this.#opened;
  }

  open(): void {
    this.#open();
  }
}

/** A place where requests wait until there are `count` of them. */
export function meeting(count: number): () => Promise<void> {
  const gate = new Gate();
  let present = 0;
  return () => {
    present += 1;
    if (present === count) gate.open();
    return gate.pass();
  };
}
