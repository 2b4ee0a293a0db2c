import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import express from "express";
import session from "express-session";
import { WebSocket, WebSocketServer } from "ws";
import type { AbstractStore, StoreOptions } from "../../lib/index.js";
import { type AppRequest, Browser, settled } from "../helpers/apps/app.js";
import { advance, stopClock } from "../helpers/stopped-clock.js";
import { backends, useBackend } from "../helpers/stores/backends.js";

/*
 * A WebSocket keeps the session of the request that opened it, for hours. `session.touch().save()` extends the session.
 * express-session documents `save` as: "Save the session back to the store, replacing the contents on the store with
 * the contents in memory". Changes of others since then must remain.
 */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

beforeEach(stopClock);
afterEach(() => {
  jest.useRealTimers();
});

/** How a message over the WebSocket uses the session. The result is the response. */
const commands: Record<string, (req: AppRequest) => unknown> = {
  "keep alive": req => settled(done => req.session.touch().save(done)),
  "set chat": req => {
    req.session.chat = "open";
    return settled(done => req.session.save(done));
  },
  async reload(req) {
    await settled(done => req.session.reload(done));
    return req.session.tea;
  },
};

function listen(store: AbstractStore): Server {
  const middleware = session({
    secret: "keyboard cat",
    resave: false,
    saveUninitialized: false,
    store,
    cookie: { maxAge: 30 * MINUTE },
  });
  const app = express();
  app.use(middleware);
  app.get("/", (req, res) => {
    const { cookie: _cookie, ...fields } = (req as unknown as AppRequest).session;
    res.json(fields);
  });
  app.post("/set", (req, res) => {
    Object.assign(req.session, req.query);
    res.json(null);
  });
  app.post("/short", (req, res) => {
    req.session.cookie.maxAge = 5 * MINUTE;
    res.json(null);
  });
  app.post("/sign-out", (req, res) => {
    req.session.destroy(() => res.json(null));
  });

  const server = createServer(app);
  const sockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (req, socket, head) => {
    // As in the documentation of ws.
    middleware(req as Parameters<typeof middleware>[0], {} as Parameters<typeof middleware>[1], () => {
      if ((req as AppRequest).session.user === undefined) {
        socket.end("HTTP/1.1 401 Unauthorized\r\n\r\n");
        return;
      }
      sockets.handleUpgrade(req, socket, head, webSocket => sockets.emit("connection", webSocket, req));
    });
  });
  sockets.on("connection", (webSocket: WebSocket, req: IncomingMessage) => {
    webSocket.on("message", message => {
      const command = commands[String(message)] as (req: AppRequest) => unknown;
      const send = (answer: unknown) => webSocket.send(String(answer ?? "done"));
      (async () => command(req as AppRequest))().then(send, error => send(error.message));
    });
  });
  server.on("close", () => sockets.close());
  return server.listen(0, "127.0.0.1");
}

describe.each(backends)("a WebSocket, sessions in $name", backend => {
  const createStore = useBackend(backend);
  let store: AbstractStore;
  let server: Server;
  let ada: Browser;
  const clients: WebSocket[] = [];

  /** A server, and a browser that is signed in. */
  async function start(options: StoreOptions = {}): Promise<void> {
    store = createStore({ touchAfter: 0, ...options });
    server = listen(store);
    await once(server, "listening");
    ada = new Browser(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    await ada.send("POST /set?user=ada");
  }

  afterEach(async () => {
    for (const client of clients.splice(0)) client.terminate();
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });

  async function connect(browser = ada): Promise<(command: string) => Promise<string>> {
    const address = String(browser.app).replace("http:", "ws:");
    const client = new WebSocket(address, { headers: { cookie: browser.cookie ?? "" } });
    clients.push(client);
    await once(client, "open");
    return async command => {
      client.send(command);
      const [answer] = await once(client, "message");
      return String(answer);
    };
  }

  it("loads the session with its upgrade, and is refused without one", async () => {
    await start();
    const tell = await connect();
    await ada.send("POST /set?tea=1");
    expect(await tell("reload")).toBe("1");
    await expect(connect(new Browser(ada.app))).rejects.toThrow("401");
  });

  it("keeps its session alive as long as it says so", async () => {
    await start();
    const tell = await connect();
    for (let hours = 0; hours < 5; hours += 0.25) {
      advance(HOUR / 4);
      expect(await tell("keep alive")).toBe("done");
    }
    advance(30 * MINUTE - 1);
    expect(await ada.fields()).toEqual({ user: "ada" });
    advance(30 * MINUTE);
    expect(await ada.fields()).toEqual({});
  });

  it("keeps a session alive that others have kept alive for hours, and all that they have changed", async () => {
    await start();
    const tell = await connect();
    for (let hours = 0; hours < 3; hours += 0.25) {
      advance(HOUR / 4);
      await ada.send(`POST /set?tea=${hours}`);
    }
    advance(29 * MINUTE);
    expect(await tell("keep alive")).toBe("done");
    expect(await tell("set chat")).toBe("done");
    advance(29 * MINUTE);
    expect(await ada.fields()).toEqual({ user: "ada", tea: "2.75", chat: "open" });
  });

  it.each(["keep alive", "set chat"])(
    "does not bring back a session that ended hours ago: %s",
    async command => {
      await start();
      const tell = await connect();
      advance(12 * HOUR);
      expect(await ada.clone().fields()).toEqual({});
      expect(await tell(command)).toBe("done");
      expect(await ada.fields()).toEqual({});
      expect(await store.length()).toBe(0);
    },
  );

  it("does not bring back a session that ended hours ago and was swept", async () => {
    await start();
    const tell = await connect();
    advance(12 * HOUR);
    await (store as { cleanup?: () => Promise<unknown> }).cleanup?.();
    expect(await tell("keep alive")).toBe("done");
    expect(await ada.fields()).toEqual({});
  });

  it.each([0, MINUTE, 12 * HOUR])("does not bring back a session that was destroyed %d ms ago", async ms => {
    await start();
    const tell = await connect();
    await ada.clone().send("POST /sign-out");
    advance(ms);
    expect(await tell("keep alive")).toBe("done");
    expect(await tell("set chat")).toBe("done");
    expect(await tell("reload")).toBe("failed to load session");
    expect(await ada.fields()).toEqual({});
    expect(await store.length()).toBe(0);
  });

  it("does not restore a lifetime that a request has shortened since", async () => {
    await start();
    const tell = await connect();
    await ada.send("POST /short");
    advance(MINUTE);
    expect(await tell("keep alive")).toBe("done");
    advance(5 * MINUTE - 1);
    expect(await store.length()).toBe(1);
    advance(1);
    expect(await ada.fields()).toEqual({});
  });

  it("does not outlive the absolute timeout, whatever it says", async () => {
    await start({ absoluteTimeout: HOUR / 1000 });
    const tell = await connect();
    for (let minutes = 0; minutes < 50; minutes += 10) {
      advance(10 * MINUTE);
      expect(await tell("keep alive")).toBe("done");
    }
    advance(10 * MINUTE);
    await tell("keep alive");
    expect(await ada.fields()).toEqual({});
  });
});
