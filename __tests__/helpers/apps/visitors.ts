import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { Response } from "supertest";
import type { AbstractStore } from "../../../lib/index.js";
import { below } from "../random.js";
import { Browser } from "./app.js";
import { createApp } from "./example-app.js";

const PRODUCTS = ["tea", "biscuits", "marmalade", "mug"];
/** The application's limit on the quantity of a product. */
const MAX_QUANTITY = 99;
/** The most visitors that are signed in at the same time. */
const MOST_VISITORS = 40;

/** A visitor who signed in, and what the application responded. */
class Visitor {
  readonly name: string;
  readonly browser: Browser;
  /**
   * The quantity that must be in the cart (`least`), and the quantity that may be there after a failed request
   * (`most`).
   */
  readonly cart = new Map(PRODUCTS.map(product => [product, { least: 0, most: 0 }]));
  /** Products that a request in flight is adding to the cart. */
  readonly busy = new Set<string>();
  state: "here" | "unsure" | "signed out" = "here";

  constructor(name: string, browser: Browser) {
    this.name = name;
    this.browser = browser;
  }
}

/** A request with its response. */
interface Click {
  /** When its response arrived, by `performance.now()`. */
  at: number;
  ms: number;
  failed: boolean;
}

/**
 * Visitors of the example application. They sign in, look at pages, and put items into their carts from several tabs at
 * the same time. They sign out while other requests of theirs are in flight.
 */
export class Visitors {
  readonly clicks: Click[] = [];
  /** Violations of what must hold whatever fails. */
  readonly wrongs: string[] = [];
  readonly #store: AbstractStore;
  readonly #server: Server;
  readonly #random: () => number;
  readonly #visitors: Visitor[] = [];
  readonly #underWay = new Set<Promise<unknown>>();
  #address = "";
  #count = 0;
  #stopped = false;

  constructor(store: AbstractStore, random: () => number) {
    this.#store = store;
    this.#random = random;
    this.#server = createServer(createApp(store));
  }

  async start(perSecond: number): Promise<void> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.#address = `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
    const begin = performance.now();
    const run = async () => {
      for (let sent = 0; !this.#stopped; ) {
        while (sent < ((performance.now() - begin) / 1000) * perSecond) sent += this.#act();
        await sleep(5);
      }
    };
    this.#track(run());
  }

  /** Stops the visitors, and waits for the last responses. */
  async stop(): Promise<void> {
    this.#stopped = true;
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** Waits for the last responses, and checks that everything acknowledged is stored. */
  async check(): Promise<void> {
    const sessions = new Map((await this.#store.all()).map(session => [nameOf(session), session]));
    for (const { name, state, cart } of this.#visitors) {
      const session = sessions.get(name) as Record<string, unknown> | undefined;
      if (state === "signed out" && session !== undefined) this.wrongs.push(`${name} is signed in again`);
      if (state === "here" && session === undefined) this.wrongs.push(`${name} is not signed in any more`);
      if (session === undefined) continue;
      for (const [product, { least, most }] of cart) {
        const quantity = Number(session[`cart:${product}`] ?? 0);
        if (quantity < least || quantity > most) {
          this.wrongs.push(`${name} has ${quantity} of ${product}: expected ${least} to ${most}`);
        }
      }
    }
  }

  /** Starts a random action. Returns the number of its requests. */
  #act(): number {
    const here = this.#visitors.filter(({ state }) => state === "here");
    const visitor = here[below(here.length, this.#random)];
    const chance = this.#random();
    if (visitor === undefined || (here.length < MOST_VISITORS && chance < 0.1))
      return this.#track(this.#signIn());
    if (chance < 0.15) return this.#track(this.#signOut(visitor));
    const free = PRODUCTS.filter(
      product => !visitor.busy.has(product) && (visitor.cart.get(product)?.most ?? 0) < MAX_QUANTITY,
    );
    const [product] = free;
    if (chance < 0.4 && product !== undefined) return this.#track(this.#add(visitor, product));
    if (chance < 0.5 && free.length > 1) {
      for (const each of free) this.#track(this.#add(visitor, each));
      return free.length;
    }
    return this.#track(this.#look(visitor));
  }

  #track(work: Promise<unknown>): number {
    this.#underWay.add(work);
    void work.finally(() => this.#underWay.delete(work));
    return 1;
  }

  /** Sends a request. Returns the path of the redirect, or `undefined` if the request failed. */
  async #send(browser: Browser, call: string, form?: Record<string, string>): Promise<string | undefined> {
    const start = performance.now();
    const response: Response = await browser.attempt(call, form);
    const at = performance.now();
    const failed = response.status === 503;
    this.clicks.push({ at, ms: at - start, failed });
    if (failed) return undefined;
    if (response.status === 200) return "";
    if (response.status !== 303) this.wrongs.push(`${call} got ${response.status}: ${response.text}`);
    return response.headers.location;
  }

  async #signIn(): Promise<void> {
    this.#count += 1;
    const name = `visitor ${this.#count}`;
    const browser = new Browser(this.#address);
    const location = await this.#send(browser, "POST /sign-in", { name });
    if (location === "/") this.#visitors.push(new Visitor(name, browser));
    else if (location !== undefined) this.wrongs.push(`${name} was sent to "${location}" for signing in`);
  }

  async #signOut(visitor: Visitor): Promise<void> {
    visitor.state = "unsure";
    const tab = visitor.browser.clone();
    const location = await this.#send(tab, "POST /sign-out");
    if (location === undefined) return;
    visitor.state = "signed out";
    const again = await this.#send(visitor.browser.clone(), "GET /");
    if (again === "") this.wrongs.push(`${visitor.name} has signed out, and is still signed in`);
  }

  async #add(visitor: Visitor, product: string): Promise<void> {
    const quantity = visitor.cart.get(product) as { least: number; most: number };
    visitor.busy.add(product);
    quantity.most += 1;
    const location = await this.#send(visitor.browser.clone(), "POST /cart/add", { product });
    if (location === `/#add-${product}`) quantity.least += 1;
    else if (location !== undefined) this.#expectHere(visitor);
    visitor.busy.delete(product);
  }

  async #look(visitor: Visitor): Promise<void> {
    const location = await this.#send(visitor.browser.clone(), "GET /");
    if (location !== undefined && location !== "") this.#expectHere(visitor);
  }

  /** Called if a visitor was redirected to the sign-in page. */
  #expectHere(visitor: Visitor): void {
    if (visitor.state === "here") this.wrongs.push(`${visitor.name} was taken for signed out`);
  }
}

function nameOf(session: object): unknown {
  return (session as { name?: unknown }).name;
}
