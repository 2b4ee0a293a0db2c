import { Gate } from "../helpers/apps/app.js";
import { arrive, BrowserTests, expectNotice, focused, picture, tabTo } from "../helpers/apps/browser.js";
import { optionsFor } from "../helpers/apps/example-app.js";
import { backends, memory, useBackend } from "../helpers/stores/backends.js";

const userAgents = [
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
  "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
];

const tests = new BrowserTests();

describe.each(backends.filter(({ hasUsers }) => hasUsers))(
  "two browsers of one user, sessions in $name",
  backend => {
    const createStore = useBackend(backend);

    it("see each other, and one that the other ends is signed out at its next click", async () => {
      await tests.serve(createStore(optionsFor(backend)));
      const [here, there] = [await tests.signIn("Ada"), await tests.signIn("Ada")];
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
      await tests.serve(store);
      const [here, there] = [await tests.signIn("Ada"), await tests.signIn("Ada")];
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

describe("the pages of users in a browser", () => {
  const createStore = useBackend(memory);
  beforeEach(() => tests.serve(createStore(optionsFor(memory))));

  it("work by keyboard alone: sign in, end one session, then all others", async () => {
    const others = await Promise.all(["Ada", "Ada", "Ada"].map(name => tests.signInUnseen(name)));
    const page = await tests.open();
    await page.goto("/");
    // The page focuses its field by itself, but only after it is drawn.
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
      "Cart 0",
      "Shop",
      "Your devices",
      "Sessions",
      "Try to lose something",
      "Sign out",
      ...[end, end, end],
      "End all other sessions",
    ]);
    // Nothing traps the focus, so after the last control it leaves the page.
    await tabTo(page, "");

    await tabTo(page, end);
    await page.keyboard.press("Enter");
    await expectNotice(page, "The session has been ended.");
    expect(await focused(page)).toBe("The session has been ended.");
    expect(await tabTo(page, end)).toEqual([end]);
    expect(await page.getByRole("listitem").count()).toBe(3);
    await tabTo(page, "End all other sessions");
    await page.keyboard.press("Space");
    await expectNotice(page, "2 sessions have been ended.");
    for (const other of others) expect((await other.get("/")).url()).toBe(`${tests.address}/sign-in`);
  });

  it("change a role by keyboard alone, and another browser shows it at its next click", async () => {
    const ada = await tests.signIn("Ada");
    const page = await tests.signIn("admin");
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

  it("list a user's devices for the documents", async () => {
    const page = await tests.signIn("Ada", { viewport: { width: 1000, height: 600 }, colorScheme: "dark" });
    for (const userAgent of userAgents) await tests.signInUnseen("Ada", { userAgent });
    await page.goto("/devices");
    expect(await page.getByRole("heading", { level: 2 }).allTextContents()).toEqual([
      expect.stringContaining("Chrome on "),
      "Safari on iPhone",
      "Firefox on Windows",
    ]);
    await picture(page, "devices-dark");
  });
});
