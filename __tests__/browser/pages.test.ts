import { setTimeout as sleep } from "node:timers/promises";
import axe from "axe-core";
import type { Page } from "playwright-core";
import { BrowserTests, expectNotice, LONG_NAME, tabTo } from "../helpers/apps/browser.js";
import { optionsFor } from "../helpers/apps/example-app.js";
import { memory, useBackend } from "../helpers/stores/backends.js";

const lowContrasts = require("../helpers/apps/contrast.cjs") as () => string[];

const tests = new BrowserTests();

describe("the pages in a browser", () => {
  const createStore = useBackend(memory);
  beforeEach(() => tests.serve(createStore(optionsFor(memory))));

  /** Shows each page of the application in turn, in all its states. */
  async function* pages(): AsyncGenerator<[string, Page]> {
    const visitor = await tests.open();
    await visitor.goto("/sign-in");
    yield ["sign-in", visitor];
    await submit(visitor, "Your name", " ", "Sign in");
    await visitor.getByText("A name has 1 to 40 characters.").waitFor();
    yield ["sign-in with a problem", visitor];

    await visitor.goto("/missing.css");
    yield ["an error for visitors", visitor];

    const ada = await tests.signIn(LONG_NAME);
    await ada.getByText("It is empty.").waitFor();
    yield ["shop", ada];
    for (const product of ["Tea", "Mug", "Biscuits"]) {
      await ada.getByRole("button", { name: `Add to the cart: ${product}` }).click();
      await expectNotice(ada, "In your cart: 1");
    }
    yield ["shop after Add", ada];
    await ada.getByRole("spinbutton", { name: "Quantity: Mug" }).fill("99");
    await ada.getByRole("button", { name: "Update the quantity: Mug" }).click();
    await expectNotice(ada, "In your cart: 99");
    yield ["shop after Update", ada];
    await ada.getByRole("button", { name: "Remove from the cart: Biscuits" }).click();
    await expectNotice(ada, "Biscuits & shortbread is no longer in the cart.");
    yield ["shop after Remove", ada];
    await tests.signInUnseen(LONG_NAME);
    await ada.goto("/devices");
    yield ["devices", ada];
    await ada.getByRole("button", { name: "End all other sessions" }).click();
    await expectNotice(ada, "1 session has been ended.");
    yield ["devices after an end", ada];
    await ada.goto("/sessions");
    yield ["sessions", ada];
    await ada.goto("/try");
    await ada.getByRole("button", { name: "Try it" }).waitFor();
    yield ["trial", ada];
    await ada.getByRole("button", { name: "Try it" }).click();
    await expectNotice(ada, "Done.");
    yield ["trial after a run", ada];
    await ada.goto("/admin");
    yield ["an error", ada];

    const admin = await tests.signIn("admin");
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

  /** Returns the rules of axe-core that a page violates, and where. */
  async function violationsIn(page: Page): Promise<string[]> {
    if (!(await page.evaluate("'axe' in window"))) await page.evaluate(axe.source);
    const { passes, violations } = (await page.evaluate("axe.run()")) as axe.AxeResults;
    if (passes.length === 0) throw new Error("axe-core has looked at nothing");
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  }

  /** Returns everything that is cut off, or is visible only after scrolling sideways. */
  const CUT = `[...document.querySelectorAll("body, body *")]
    .filter(({ scrollWidth, clientWidth }) => clientWidth > 0 && scrollWidth > clientWidth)
    .map(({ tagName, className, scrollWidth, clientWidth }) =>
      tagName + "." + className + " has " + scrollWidth + " px in " + clientWidth)`;

  it("fit into a window 360 px wide, are accessible, and have enough contrast in light and dark", async () => {
    const flaws: string[] = [];
    for await (const [name, page] of pages()) {
      const backgrounds = new Set<unknown>();
      for (const width of [1280, 360]) {
        await page.setViewportSize({ width, height: 740 });
        const needed = await page.evaluate("document.scrollingElement.scrollWidth");
        if (needed !== width) flaws.push(`${name} is ${needed} px wide in a window of ${width} px`);
        for (const cut of (await page.evaluate(CUT)) as string[])
          flaws.push(`${name} at ${width} px: ${cut}`);
        for (const colorScheme of ["light", "dark"] as const) {
          const place = `${name} at ${width} px in ${colorScheme}`;
          await page.emulateMedia({ colorScheme });
          backgrounds.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"));
          for (const low of await page.evaluate(lowContrasts)) flaws.push(`${place}: ${low}`);
          for (const violation of await violationsIn(page)) flaws.push(`${place}: ${violation}`);
        }
      }
      if (backgrounds.size !== 2) flaws.push(`${name} looks the same in light and dark`);
    }
    expect(flaws).toEqual([]);
  }, 240_000);

  it("say in the navigation which of them is shown", async () => {
    const page = await tests.signIn("admin");
    for (const path of ["/", "/devices", "/sessions", "/try", "/admin"]) {
      await page.goto(path);
      const current = page.locator("nav a[aria-current=page]");
      expect(await current.getAttribute("href")).toBe(path);
    }
  });

  it("let the keyboard scroll the table of sessions where it is wider than the window", async () => {
    const page = await tests.signIn("Ada");
    // The same size as with large text.
    await page.setViewportSize({ width: 240, height: 740 });
    await page.goto("/sessions");
    await tabTo(page, "Table of live sessions");
    await page.keyboard.press("ArrowRight");
    while (!(await page.evaluate("document.activeElement.scrollLeft > 0"))) await sleep(20);
  });
});
