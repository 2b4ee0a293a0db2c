import type { Page } from "playwright-core";
import { BrowserTests, expectNotice, focused, picture, tabTo } from "../helpers/apps/browser.js";
import { optionsFor } from "../helpers/apps/example-app.js";
import { memory, useBackend } from "../helpers/stores/backends.js";

const phone = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true };

const tests = new BrowserTests();

describe("the shop on a phone", () => {
  const createStore = useBackend(memory);
  beforeEach(() => tests.serve(createStore(optionsFor(memory))));

  /** Waits for a message, and checks that it is in the window, below the header, with the count of the cart. */
  async function expectSeen(page: Page, message: string, count: string): Promise<void> {
    await expectNotice(page, message);
    expect(await page.locator("header .count").textContent()).toBe(count);
    for (const place of [page.getByRole("status"), page.locator("header .count")]) {
      const box = await place.boundingBox();
      expect(box?.y).toBeGreaterThanOrEqual(0);
      expect((box?.y ?? 0) + (box?.height ?? 0)).toBeLessThanOrEqual(phone.viewport.height);
    }
    const header = await page.locator("header").boundingBox();
    const status = await page.getByRole("status").boundingBox();
    expect(status?.y).toBeGreaterThanOrEqual(header?.height ?? 0);
  }

  it("shows in the window what Add, Update and Remove did, and keeps the focus there", async () => {
    const page = await tests.signIn("Ada", phone);
    for (const [index, product] of ["Tea", "Biscuits", "Grandma's marmalade", "Mug"].entries()) {
      await page.getByRole("button", { name: `Add to the cart: ${product}` }).tap();
      await expectSeen(page, "In your cart: 1", String(index + 1));
    }
    expect(await focused(page)).toBe("Add to the cart: Mug, 0.4 l");
    await page.getByRole("spinbutton", { name: "Quantity: Mug" }).fill("7");
    await page.getByRole("button", { name: "Update the quantity: Mug" }).tap();
    await expectSeen(page, "In your cart: 7", "10");
    expect(await focused(page)).toBe("Update the quantity: Mug, 0.4 l");
    await page.getByRole("button", { name: "Remove from the cart: Mug" }).tap();
    await expectSeen(page, "Mug, 0.4 l is no longer in the cart.", "3");
    await page.locator("#cart:focus").waitFor();
    await picture(page, "cart-phone-light");
  });

  it("goes on by keyboard from where a form was sent, and reads the message with the control", async () => {
    const page = await tests.signIn("Ada", phone);
    const biscuits = "Add to the cart: Biscuits & shortbread";
    await tabTo(page, biscuits);
    await page.keyboard.press("Enter");
    await expectSeen(page, "In your cart: 1", "1");
    expect(await focused(page)).toBe(biscuits);
    const description = await page.evaluate(
      "document.getElementById(document.activeElement.getAttribute('aria-describedby')).textContent",
    );
    expect(description).toBe("In your cart: 1");
    await page.keyboard.press("Enter");
    await expectSeen(page, "In your cart: 2", "2");
    expect(await tabTo(page, "Add to the cart: Grandma's marmalade")).toHaveLength(1);
    await page.keyboard.press("Enter");
    await expectSeen(page, "In your cart: 1", "3");
    await tabTo(page, "Remove from the cart: Biscuits & shortbread");
    await page.keyboard.press("Enter");
    await expectSeen(page, "Biscuits & shortbread is no longer in the cart.", "1");
    expect(await tabTo(page, "Quantity: Grandma's marmalade")).toHaveLength(1);
  });

  it("leads to the cart from the header of every page", async () => {
    const page = await tests.signIn("Ada", phone);
    await page.goto("/try");
    await page.getByRole("link", { name: "Cart 0" }).tap();
    await page.locator("#cart:focus").waitFor();
  });
});
