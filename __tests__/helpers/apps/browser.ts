import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { join, resolve } from "node:path";
import {
  type APIRequestContext,
  type Browser,
  type BrowserContextOptions,
  chromium,
  type Page,
} from "playwright-core";
import type { AbstractStore } from "../../../lib/index.js";
import { chromiumPath } from "../engines/engines.js";
import { createApp } from "./example-app.js";

/** A name of the greatest length, with no place for a line break. */
export const LONG_NAME = "W".repeat(40);

/** The name, or else the text, of the element that has the focus. Empty if no element has it. */
const FOCUSED = `(() => {
  const { activeElement } = document;
  if (activeElement === document.body) return "";
  const label = activeElement.getAttribute("aria-label") ?? activeElement.labels?.[0]?.textContent;
  return label ?? activeElement.textContent;
})()`;

const FOCUS_IS_VISIBLE = `(() => {
  const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
  return outlineStyle === "solid" && parseFloat(outlineWidth) >= 2;
})()`;

/** The example application in Chromium, for all tests of one file. */
export class BrowserTests {
  address = "";
  #browser: Browser | undefined;
  #server: Server | undefined;
  /** Errors and warnings in the pages of a test. */
  #complaints: string[] = [];

  constructor() {
    beforeAll(async () => {
      // Chromium's sandbox does not work for root.
      const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
      this.#browser = await chromium.launch({ executablePath: chromiumPath(), args });
    });
    afterAll(() => this.#browser?.close());

    beforeEach(() => {
      this.#complaints = [];
    });
    afterEach(async () => {
      for (const context of this.#browser?.contexts() ?? []) await context.close();
      this.#server?.close();
      this.#server?.closeAllConnections();
      expect(this.#complaints).toEqual([]);
    });
  }

  async serve(store: AbstractStore): Promise<void> {
    this.#server = createServer(createApp(store)).listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.address = `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  /** Opens a browser that shares no cookies with others. */
  async open(options: BrowserContextOptions = {}): Promise<Page> {
    const context = await this.#newContext(options);
    // Machines that run tests can be slow.
    context.setDefaultTimeout(30_000);
    const page = await context.newPage();
    page.on("pageerror", error => this.#complaints.push(error.message));
    page.on("console", message => {
      // Chromium logs this message for error pages, which some tests expect.
      const isErrorPage = message.location().url === page.url() && /status of 4\d\d/.test(message.text());
      if (["error", "warning"].includes(message.type()) && !isErrorPage)
        this.#complaints.push(message.text());
    });
    return page;
  }

  /** Opens a browser in which `name` is signed in. */
  async signIn(name: string, options: BrowserContextOptions = {}): Promise<Page> {
    const page = await this.open(options);
    await page.request.post("/sign-in", { form: { name } });
    await page.goto("/");
    await arrive(page, `Hello, ${name}`);
    return page;
  }

  /** Signs `name` in from a browser that shows no page. Returns the sender of its requests. */
  async signInUnseen(name: string, options: BrowserContextOptions = {}): Promise<APIRequestContext> {
    const { request } = await this.#newContext(options);
    await request.post("/sign-in", { form: { name } });
    return request;
  }

  /** Returns and forgets the errors and warnings so far, for a test that expects them. */
  takeComplaints(): string[] {
    return this.#complaints.splice(0);
  }

  #newContext(options: BrowserContextOptions) {
    return (this.#browser as Browser).newContext({ ...options, baseURL: this.address });
  }
}

/** Waits for a page after a click or a key that leads to the page. */
export async function arrive(page: Page, title: string): Promise<void> {
  await page.getByRole("heading", { level: 1, name: title }).waitFor();
  await page.waitForLoadState();
}

/** Waits for a page whose notice says what was done. */
export async function expectNotice(page: Page, notice: string): Promise<void> {
  await page.getByRole("status").getByText(notice).waitFor();
  await page.waitForLoadState();
}

export async function focused(page: Page): Promise<string> {
  return (await page.evaluate(FOCUSED)) as string;
}

/** Presses Tab until `name` has the focus. Returns the names of all controls that had it. */
export async function tabTo(page: Page, name: string): Promise<string[]> {
  const passed: string[] = [];
  for (;;) {
    await page.keyboard.press("Tab");
    const current = await focused(page);
    passed.push(current);
    if (current !== "" && !(await page.evaluate(FOCUS_IS_VISIBLE))) {
      throw new Error(`It does not show that "${current}" has the focus`);
    }
    if (current === name) return passed;
    if (passed.length > 40) throw new Error(`Tab does not lead to "${name}": ${passed.join(", ")}`);
  }
}

/** Takes a picture for the documents, if the environment variable SCREENSHOTS names their folder. */
export async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env.SCREENSHOTS;
  if (folder === undefined) return;
  // Removes the outline of the focus, and moves the mouse away from buttons.
  await page.evaluate("document.activeElement.blur()");
  await page.mouse.move(0, 0);
  await page.screenshot({ path: resolve(join(folder, `${name}.png`)), animations: "disabled" });
}
