import type { Page } from "playwright-core";
import type { AbstractStore } from "../../lib/index.js";
import { arrive, BrowserTests, expectNotice, focused, picture, tabTo } from "../helpers/apps/browser.js";
import { optionsFor } from "../helpers/apps/example-app.js";
import { file, useBackend } from "../helpers/stores/backends.js";

const tests = new BrowserTests();

describe("the page Try to lose something", () => {
  const createStore = useBackend(file);
  let store: AbstractStore;
  beforeEach(async () => {
    store = createStore(optionsFor(file));
    await tests.serve(store);
  });

  /** Returns the texts of the table of results, without its head. */
  async function results(page: Page): Promise<string[][]> {
    const rows = await page.locator("#trial tbody tr").all();
    return await Promise.all(rows.map(row => row.locator(".result").allTextContents()));
  }

  it("shows what each store kept, as often as one likes, and leaves the cart alone", async () => {
    const page = await tests.signIn("Ada", { viewport: { width: 900, height: 800 } });
    await page.request.post("/cart/add", { form: { product: "tea" } });
    await page.goto("/");
    await page.getByRole("link", { name: "Try to lose something" }).click();
    await arrive(page, "Try to lose something");
    await tabTo(page, "Try it");
    for (let run = 0; run < 2; run++) {
      await page.keyboard.press("Enter");
      // A second press during a trial does nothing.
      await page.keyboard.press("Enter");
      await page.getByText("a sign-out during a slow request …").waitFor();
      await expectNotice(page, "Done.");
      const [own, memory] = (await results(page)) as [string[], string[]];
      expect(own).toEqual(["20 of 20", "Stayed signed out"]);
      expect(memory).toEqual([expect.stringMatching(/^1?\d of 20$/), "Came back"]);
      const kept = await page.locator("tr:nth-child(2) .kept").count();
      expect(memory[0]).toBe(`${kept} of 20`);
      expect(await focused(page)).toBe("Try it");
    }
    await picture(page, "try-to-lose-something");
    expect(await store.length()).toBe(1);
    expect((await page.context().cookies()).map(({ name }) => name)).not.toContain("try-memory.sid");
    await page.getByRole("link", { name: "Cart 1" }).click();
    await arrive(page, "Hello, Ada");
  });

  it("says that it has stopped when the store cannot be used, and can be tried again", async () => {
    jest.spyOn(console, "error").mockImplementation(() => {});
    const page = await tests.signIn("Ada");
    await page.goto("/try");
    await store.close();
    await page.getByRole("button", { name: "Try it" }).click();
    await expectNotice(page, "The trial has stopped: the server responded with status 503.");
    expect(await page.getByRole("button", { name: "Try it" }).getAttribute("aria-disabled")).toBeNull();
    expect(tests.takeComplaints()).toEqual([expect.stringContaining("status of 503")]);
    jest.restoreAllMocks();
  });

  it("says that it has no result if the sign-out missed the slow request", async () => {
    const page = await tests.signIn("Ada");
    await page.route("**/try/store/slow", async route => {
      const response = await route.fetch();
      await route.fulfill({ response, json: { ...(await response.json()), savedAt: 0 } });
    });
    await page.goto("/try");
    await page.getByRole("button", { name: "Try it" }).click();
    await expectNotice(page, "Done.");
    expect((await results(page))[0]).toEqual(["20 of 20", "No result: the sign-out was not in time"]);
  });

  it("stops, and shows nothing wrong, if another tab begins a trial", async () => {
    const page = await tests.signIn("Ada");
    await page.goto("/try");
    await page.route("**/try/store/state", async route => {
      await page.request.post("/try/store/begin");
      await route.continue();
    });
    await page.getByRole("button", { name: "Try it" }).click();
    await expectNotice(page, "The trial has stopped: another tab has begun one.");
    expect((await results(page))[0]).toEqual(["–", "–"]);
  });

  it("is explained without JavaScript", async () => {
    const page = await tests.open({ javaScriptEnabled: false });
    await page.request.post("/sign-in", { form: { name: "Ada" } });
    await page.goto("/try");
    await arrive(page, "Try to lose something");
    await page.getByText("A script sends the requests, so this needs JavaScript.").waitFor();
    await page.getByText("20 changes in parallel.").waitFor();
    expect(await page.getByRole("button", { name: "Try it" }).count()).toBe(0);
  });
});
