import { once } from "node:events";
import { createServer, type Server } from "node:http";
import axe from "axe-core";
import { type APIRequestContext, type Browser, chromium, type Page } from "playwright-core";
import type { AbstractStore } from "../../lib/index.js";
import { Gate } from "../helpers/app.js";
import { backends, memory, useBackend } from "../helpers/backends.js";
import { chromiumPath } from "../helpers/engines.js";
import { createApp, optionsFor } from "../helpers/example-app.js";

const lowContrasts = require("../helpers/contrast.cjs") as () => string[];

/** As long as a name may be, and without a place to break it. */
const LONG_NAME = "W".repeat(40);

/** What has the focus, by its name. Empty if it is no part of the page. */
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

let browser: Browser;
let server: Server;
let address: string;
/** What went wrong in the pages of a test. */
let complaints: string[];

beforeAll(async () => {
  // Chromium's sandbox does not work for root.
  const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  browser = await chromium.launch({ executablePath: chromiumPath(), args });
});
afterAll(() => browser?.close());

beforeEach(() => {
  complaints = [];
});
afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
  server.close();
  server.closeAllConnections();
  expect(complaints).toEqual([]);
});

async function serve(store: AbstractStore): Promise<void> {
  server = createServer(createApp(store)).listen(0, "127.0.0.1");
  await once(server, "listening");
  address = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}

/** A browser of its own: it shares no cookies with others. */
async function openBrowser(): Promise<Page> {
  const context = await browser.newContext({ baseURL: address });
  // Machines that run tests can be slow.
  context.setDefaultTimeout(30_000);
  const page = await context.newPage();
  page.on("pageerror", error => complaints.push(error.message));
  page.on("console", message => {
    // Chromium's word for a page that is an error page, as some have to be here.
    const isErrorPage = message.location().url === page.url() && /status of 4\d\d/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !isErrorPage) complaints.push(message.text());
  });
  return page;
}

/** A browser of its own in which `name` is signed in. */
async function signIn(name: string): Promise<Page> {
  const page = await openBrowser();
  await page.request.post("/sign-in", { form: { name } });
  await page.goto("/");
  await arrive(page, `Hello, ${name}`);
  return page;
}

/** Signs `name` in from a browser that shows no page. Returns what sends its requests. */
async function signInUnseen(name: string): Promise<APIRequestContext> {
  const { request } = await browser.newContext({ baseURL: address });
  await request.post("/sign-in", { form: { name } });
  return request;
}

/** Waits for a page, after a click or a key that leads to it. */
async function arrive(page: Page, title: string): Promise<void> {
  await page.getByRole("heading", { level: 1, name: title }).waitFor();
  await page.waitForLoadState();
}

/** Waits for a page that says what was done. */
async function expectNotice(page: Page, notice: string): Promise<void> {
  await page.getByRole("status").getByText(notice).waitFor();
  await page.waitForLoadState();
}

describe.each(backends.filter(({ hasUsers }) => hasUsers))(
  "two browsers of one user, sessions in $name",
  backend => {
    const createStore = useBackend(backend);

    it("see each other, and one that the other ends is signed out at its next click", async () => {
      await serve(createStore(optionsFor(backend)));
      const [here, there] = [await signIn("Ada"), await signIn("Ada")];
      await here.getByRole("link", { name: "Your devices" }).click();
      await arrive(here, "Your devices");
      expect(await here.getByRole("listitem").count()).toBe(2);
      expect(await here.getByRole("listitem").first().textContent()).toMatch(
        /^\s*Chrome on \w+\s+This device/,
      );

      await here.getByRole("button", { name: /^End the session: Chrome on / }).click();
      await expectNotice(here, "The session has been ended.");
      expect(await here.getByRole("listitem").count()).toBe(1);

      await there.getByRole("button", { name: "Add to the cart: Mug" }).click();
      await arrive(there, "Sign in");
      await here.getByRole("link", { name: "Shop", exact: true }).click();
      await arrive(here, "Hello, Ada");
    });

    it("are signed out also while a slow request of theirs is under way", async () => {
      const store = createStore(optionsFor(backend));
      const set = store.set.bind(store) as (...args: unknown[]) => unknown;
      let gate: Gate | undefined;
      Object.assign(store, {
        set: async (...args: unknown[]) => {
          await gate?.pass();
          set(...args);
        },
      });
      await serve(store);
      const [here, there] = [await signIn("Ada"), await signIn("Ada")];
      await here.goto("/devices");
      gate = new Gate();
      const slow = there.getByRole("button", { name: "Add to the cart: Mug" }).click();
      await gate.reached;
      const opened = gate;
      gate = undefined;
      await here.getByRole("button", { name: /^End the session: Chrome on / }).click();
      await expectNotice(here, "The session has been ended.");
      opened.open();
      await slow;
      await arrive(there, "Sign in");
      await there.goto("/");
      await arrive(there, "Sign in");
    });
  },
);

describe("the pages in a browser", () => {
  const createStore = useBackend(memory);
  beforeEach(() => serve(createStore(optionsFor(memory))));

  /** Presses Tab until `name` has the focus. Returns what had it on the way. */
  async function tabTo(page: Page, name: string): Promise<string[]> {
    const passed: string[] = [];
    for (;;) {
      await page.keyboard.press("Tab");
      const focused = (await page.evaluate(FOCUSED)) as string;
      passed.push(focused);
      if (focused !== "" && !(await page.evaluate(FOCUS_IS_VISIBLE))) {
        throw new Error(`It does not show that "${focused}" has the focus`);
      }
      if (focused === name) return passed;
      if (passed.length > 40) throw new Error(`Tab does not lead to "${name}": ${passed.join(", ")}`);
    }
  }

  it("work by keyboard alone: sign in, end one session, then all others", async () => {
    const others = await Promise.all(["Ada", "Ada", "Ada"].map(signInUnseen));
    const page = await openBrowser();
    await page.goto("/");
    // The page focuses its field by itself, but only once it is drawn.
    await page.locator("input:focus").waitFor();
    await page.keyboard.type("Ada");
    await page.keyboard.press("Enter");
    await arrive(page, "Hello, Ada");
    await tabTo(page, "Your devices");
    await page.keyboard.press("Enter");
    await arrive(page, "Your devices");

    const [device] = (await page.getByRole("heading", { level: 2 }).allTextContents()) as [string];
    const end = `End the session: ${device}`;
    expect(await tabTo(page, "End all other sessions")).toEqual([
      "Corner Shop",
      "Shop",
      "Your devices",
      "Sessions",
      "Sign out",
      ...[end, end, end],
      "End all other sessions",
    ]);
    // Nothing holds the focus: after the last control it leaves the page.
    await tabTo(page, "");

    await tabTo(page, end);
    await page.keyboard.press("Enter");
    await expectNotice(page, "The session has been ended.");
    expect(await page.getByRole("listitem").count()).toBe(3);
    await tabTo(page, "End all other sessions");
    await page.keyboard.press("Space");
    await expectNotice(page, "2 sessions have been ended.");
    for (const other of others) expect((await other.get("/")).url()).toBe(`${address}/sign-in`);
  });

  it("change a role by keyboard alone, and another browser shows it at its next click", async () => {
    const ada = await signIn("Ada");
    const page = await signIn("admin");
    await page.goto("/admin");
    await tabTo(page, "Name of the user");
    await page.keyboard.type("Ada");
    await tabTo(page, "Role");
    await page.keyboard.type("manager");
    await tabTo(page, "Change the role");
    await page.keyboard.press("Enter");
    await expectNotice(page, "Ada is now manager: 1 session has been changed.");
    await ada.getByRole("link", { name: "Shop", exact: true }).click();
    await ada.getByText("Your role is manager.").waitFor();
  });

  /** Shows each page of the application in turn, in all its states. */
  async function* pages(): AsyncGenerator<[string, Page]> {
    const visitor = await openBrowser();
    await visitor.goto("/sign-in");
    yield ["sign-in", visitor];
    await submit(visitor, "Your name", " ", "Sign in");
    await visitor.getByText("A name has 1 to 40 characters.").waitFor();
    yield ["sign-in with a problem", visitor];

    const ada = await signIn(LONG_NAME);
    for (const product of ["tea", "mug"]) await ada.request.post("/cart/add", { form: { product } });
    await ada.goto("/");
    yield ["shop", ada];
    await signInUnseen(LONG_NAME);
    await ada.goto("/devices");
    yield ["devices", ada];
    await ada.getByRole("button", { name: "End all other sessions" }).click();
    await expectNotice(ada, "1 session has been ended.");
    yield ["devices after an end", ada];
    await ada.goto("/sessions");
    yield ["sessions", ada];
    await ada.goto("/admin");
    yield ["an error", ada];

    const admin = await signIn("admin");
    await admin.goto("/admin");
    await submit(admin, "Name of the user", LONG_NAME, "Change the role");
    await expectNotice(admin, "1 session has been changed.");
    yield ["roles after a change", admin];
    await submit(admin, "Name of the user", " ", "Change the role");
    await admin.getByText("Say whose role is to change.").waitFor();
    yield ["roles with a problem", admin];
  }

  async function submit(page: Page, field: string, value: string, button: string): Promise<void> {
    await page.getByLabel(field).fill(value);
    await page.getByRole("button", { name: button }).click();
  }

  /** The rules of axe-core that a page violates, and where. */
  async function violationsIn(page: Page): Promise<string[]> {
    await page.evaluate(axe.source);
    const { passes, violations } = (await page.evaluate("axe.run()")) as axe.AxeResults;
    if (passes.length === 0) throw new Error("axe-core has looked at nothing");
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  }

  it("fit into a window 360 px wide, are accessible, and have enough contrast in light and dark", async () => {
    const flaws: string[] = [];
    for await (const [name, page] of pages()) {
      for (const width of [1280, 360]) {
        await page.setViewportSize({ width, height: 740 });
        const needed = await page.evaluate("document.scrollingElement.scrollWidth");
        if (needed !== width) flaws.push(`${name} is ${needed} px wide in a window of ${width} px`);
      }
      const backgrounds = new Set<unknown>();
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        backgrounds.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"));
        for (const low of await page.evaluate(lowContrasts)) flaws.push(`${name} in ${colorScheme}: ${low}`);
        for (const violation of await violationsIn(page))
          flaws.push(`${name} in ${colorScheme}: ${violation}`);
      }
      if (backgrounds.size !== 2) flaws.push(`${name} looks the same in light and dark`);
    }
    expect(flaws).toEqual([]);
  });
});
