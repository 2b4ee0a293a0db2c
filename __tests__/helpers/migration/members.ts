import { setTimeout as sleep } from "node:timers/promises";
import { Browser } from "../apps/app.js";
import { below } from "../random.js";
import type { RollingSite } from "./rolling-site.js";

/** A member of the site, with a browser. */
interface Member {
  readonly name: string;
  browser: Browser;
  /** The keys whose change was acknowledged since the last sign-in. */
  keys: Set<string>;
  /** The number of requests in flight. */
  requests: number;
  isSigningOut: boolean;
}

/** A member after a sign-out, with the old cookie. */
interface Former {
  readonly browser: Browser;
  readonly name: string;
}

const SLOW_MS = 600;

/**
 * Members of a site whose processes are replaced in the meantime. They look at their page, make changes, some of them
 * slow, and sign out while slow requests are in flight. Records every violation in {@link wrongs}.
 */
export class Members {
  readonly wrongs: string[] = [];
  readonly did = { visits: 0, changes: 0, slowChanges: 0, parallelChanges: 0, signOuts: 0, formerVisits: 0 };
  readonly #site: RollingSite;
  readonly #random: () => number;
  readonly #members: Member[];
  readonly #former: Former[] = [];
  readonly #inFlight = new Set<Promise<unknown>>();
  #keys = 0;
  #isStopped = false;

  constructor(site: RollingSite, count: number, random: () => number) {
    this.#site = site;
    this.#random = random;
    this.#members = Array.from({ length: count }, (_, index) => ({
      name: `member${index}`,
      browser: new Browser(""),
      keys: new Set<string>(),
      requests: 0,
      isSigningOut: false,
    }));
  }

  async signIn(): Promise<void> {
    await Promise.all(this.#members.map(member => this.#signIn(member)));
  }

  /** Sends `perSecond` requests per second until {@link stop}. */
  async run(perSecond: number): Promise<void> {
    const start = performance.now();
    for (let sent = 0; !this.#isStopped; ) {
      while (sent < ((performance.now() - start) / 1000) * perSecond) sent += this.#act();
      await sleep(5);
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    while (this.#inFlight.size > 0) await Promise.all(this.#inFlight);
  }

  /** Begins a slow change for each of some members, at a process that is about to be replaced. */
  beginSlowChanges(count: number, address: string): void {
    for (const member of this.#members.filter(each => each.requests === 0).slice(0, count)) {
      this.#track(this.#change(member, SLOW_MS, address));
    }
  }

  /** Looks at each member's page, and tries every cookie that was signed out. */
  async visitAll(): Promise<void> {
    while (this.#inFlight.size > 0) await Promise.all(this.#inFlight);
    for (const address of this.#site.addresses) {
      for (const member of this.#members) await this.#visit(member, address);
      for (const former of this.#former) await this.#visitFormer(former, address);
    }
  }

  get #address(): string {
    return this.#oneOf(this.#site.addresses);
  }

  /** Whether the new store decides at both processes, so that parallel changes are kept. */
  get #mergesChanges(): boolean {
    return this.#site.stages.every(stage => stage === "to-first" || stage === "to");
  }

  /** Starts a random action. Returns the number of its requests. */
  #act(): number {
    const dice = this.#random();
    if (dice < 0.1 && this.#former.length > 0) {
      this.#track(this.#visitFormer(this.#oneOf(this.#former), this.#address));
      return 1;
    }
    const member = this.#oneOf(this.#members);
    if (member.isSigningOut) return 0;
    if (dice < 0.16) {
      this.#track(this.#signOutAndIn(member));
      return 2;
    }
    if (member.requests > 0 && !this.#mergesChanges) return 0;
    if (dice < 0.55) this.#track(this.#visit(member, this.#address));
    else {
      if (member.requests > 0) this.did.parallelChanges += 1;
      this.#track(this.#change(member, dice < 0.65 ? SLOW_MS : 0, this.#address));
    }
    return 1;
  }

  async #visit(member: Member, address: string): Promise<void> {
    const { name, browser } = member;
    const keys = [...member.keys];
    const stages = this.#site.stages;
    member.requests += 1;
    const fields = await this.#fields(browser, address);
    member.requests -= 1;
    this.did.visits += 1;
    // The member has signed out and in again during the visit.
    if (member.browser !== browser || member.isSigningOut || fields === undefined) return;
    if (fields.user !== name) this.wrongs.push(`${name} is signed out (${stages})`);
    else
      for (const key of keys) if (!(key in fields)) this.wrongs.push(`${name} has lost ${key} (${stages})`);
  }

  async #visitFormer({ browser, name }: Former, address: string): Promise<void> {
    const fields = await this.#fields(browser, address);
    this.did.formerVisits += 1;
    if (fields?.user !== undefined)
      this.wrongs.push(`${name} is back after a sign-out (${this.#site.stages})`);
  }

  async #change(member: Member, ms: number, address: string): Promise<void> {
    const { browser, keys } = member;
    const key = `k${this.#keys++}`;
    member.requests += 1;
    const { status } = await new Browser(address, browser.cookie).attempt(`POST /set?key=${key}&ms=${ms}`);
    member.requests -= 1;
    if (ms > 0) this.did.slowChanges += 1;
    else this.did.changes += 1;
    if (status === 200) keys.add(key);
    else if (member.browser === browser && !member.isSigningOut)
      this.wrongs.push(`${member.name}: ${status}`);
  }

  async #signOutAndIn(member: Member): Promise<void> {
    const { browser, name } = member;
    member.isSigningOut = true;
    await new Browser(this.#address, browser.cookie).send("POST /sign-out");
    this.did.signOuts += 1;
    this.#former.push({ browser: new Browser("", browser.cookie), name });
    await this.#signIn(member);
    member.isSigningOut = false;
  }

  async #signIn(member: Member): Promise<void> {
    const browser = new Browser(this.#address);
    await browser.send(`POST /sign-in?user=${member.name}`);
    member.browser = browser;
    member.keys = new Set();
  }

  async #fields(browser: Browser, address: string): Promise<Record<string, unknown> | undefined> {
    const { status, body } = await new Browser(address, browser.cookie).attempt("GET /");
    if (status === 200) return body;
    this.wrongs.push(`${status} ${JSON.stringify(body)}`);
    return undefined;
  }

  #oneOf<T>(list: readonly T[]): T {
    return list[below(list.length, this.#random)] as T;
  }

  #track(work: Promise<unknown>): void {
    const tracked = work
      .catch(error => this.wrongs.push(String(error)))
      .finally(() => this.#inFlight.delete(tracked));
    this.#inFlight.add(tracked);
  }
}
