import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import connect from "connect";
import express from "express";
import session, { type SessionOptions, type Store } from "express-session";
import request, { type Response } from "supertest";

/** The part of the interfaces of Express 5, Express 4 and connect that the tests use. */
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

/** The handler of a route. Its result is the response, and its parameters are those of the query. */
export type Handler = (req: AppRequest, params: URLSearchParams, res: ServerResponse) => unknown;

export interface AppOptions extends Partial<SessionOptions> {
  framework?: FrameworkName;
  /** By method and path, in addition to the standard routes. */
  routes?: Record<string, Handler>;
  /** Called with the errors that express-session and the routes pass to the error handler. */
  onError?: (error: unknown) => void;
}

/** Routes that every application has. A user who is not signed in has no `user`. */
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
  // Express recognizes an error handler by its four parameters.
  app.use((error: unknown, req: Partial<AppRequest>, res: ServerResponse, _next: unknown) => {
    onError?.(error);
    // The response has already begun.
    if (res.headersSent) return;
    // Otherwise express-session calls the failing store again.
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

/** Sends the head of a response whose body follows later, like that of a download. */
export function beginReply(res: ServerResponse, status = 200): ServerResponse {
  if (res.headersSent) return res;
  res.writeHead(status, { "content-type": "application/json" });
  res.write(" ");
  return res;
}

/** Makes a promise of a method of express-session, which takes a callback. */
export function settled(call: (done: (error?: unknown) => void) => unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    call(error => (error ? reject(error) : resolve()));
  });
}

/** Keeps the cookie of one session, and sends the cookie even if it has expired. */
export class Browser {
  readonly app: RequestListener | string;
  cookie: string | undefined;
  userAgent: string | undefined;

  /** @param app - an application, or the address of a server */
  constructor(app: RequestListener | string, cookie?: string) {
    this.app = app;
    this.cookie = cookie;
  }

  /** Sends a request, such as "POST /sign-in?user=ada", and returns the response, whatever its status. */
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

  /** Returns the fields of this browser's session, or an empty object if there is no session. */
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
  /** Settles when a request has arrived. */
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

  /** Called by the request, which waits until the gate opens. */
  pass(): Promise<void> {
    this.#reach();
    return this.#opened;
  }

  open(): void {
    this.#open();
  }
}

/** A place where requests wait until `count` of them have arrived. */
export function meeting(count: number): () => Promise<void> {
  const gate = new Gate();
  let present = 0;
  return () => {
    present += 1;
    if (present === count) gate.open();
    return gate.pass();
  };
}
