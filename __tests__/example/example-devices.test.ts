import type { Browser } from "../helpers/apps/app.js";
import { createApp, optionsFor, pageText, signIn, submit } from "../helpers/apps/example-app.js";
import { backends, useBackend } from "../helpers/stores/backends.js";

const { deviceName } = require("../../examples/app/device.js") as {
  deviceName(userAgent?: string): string;
};

const MINUTE_MS = 60_000;

const userAgents = {
  firefox: "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
  safari:
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
  edge: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0",
  opera:
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36 OPR/121.0.0.0",
  android:
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36",
  chromeOnIpad:
    "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/138.0.7204.119 Mobile/15E148 Safari/604.1",
  chromium:
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
};

/** The handles of a user's other sessions, from the forms of the page. */
async function handlesOf(browser: Browser): Promise<string[]> {
  const { text } = await browser.send("GET /devices");
  return [...text.matchAll(/name="handle" value="([^"]+)"/g)].map(([, handle]) => handle as string);
}

async function isSignedIn(browser: Browser): Promise<boolean> {
  return (await browser.attempt("GET /sessions")).headers.location !== "/sign-in";
}

describe("the name of a device", () => {
  it.each([
    ["Firefox on Windows", userAgents.firefox],
    ["Safari on iPhone", userAgents.safari],
    ["Edge on Windows", userAgents.edge],
    ["Opera on macOS", userAgents.opera],
    ["Chrome on Android", userAgents.android],
    ["Chrome on iPad", userAgents.chromeOnIpad],
    ["Chrome on Linux", userAgents.chromium],
    ["Unknown browser on Linux", "Wget/1.21 (Linux)"],
    ["Unknown browser", "curl/8.14.1"],
    ["Unknown browser", undefined],
  ])("is %s for %s", (name, userAgent) => {
    expect(deviceName(userAgent)).toBe(name);
  });
});

describe.each(backends.filter(({ hasUsers }) => hasUsers))(
  "devices of a user, sessions in $name",
  backend => {
    const openStore = useBackend(backend);
    const createStore = () => openStore(optionsFor(backend));

    it("are listed with browser, system and role, this one first", async () => {
      const app = createApp(createStore());
      const here = await signIn(app, "Ada", userAgents.firefox);
      const phone = await signIn(app, "Ada", userAgents.safari);
      await signIn(app, "Bob", userAgents.edge);
      await pageText(phone);
      expect(await pageText(here, "/devices")).toMatch(
        /Firefox on Windows This device First seen just now Last seen just now Role member Safari on iPhone First seen just now Last seen just now Role member End End all other sessions (?!.*Edge)/,
      );
      expect((await here.send("GET /devices")).text).toContain(
        'aria-label="End the session: Safari on iPhone"',
      );
    });

    it("show when they were first and last seen", async () => {
      let behind = 10 * MINUTE_MS;
      const store = openStore({ ...optionsFor(backend), now: () => Date.now() - behind });
      const app = createApp(store);
      const phone = await signIn(app, "admin", userAgents.safari);
      behind = 0;
      const here = await signIn(app, "admin", userAgents.firefox);
      expect(await pageText(here, "/devices")).toContain("iPhone First seen 10 min ago Last seen 10 min ago");
      await pageText(phone);
      expect(await pageText(here, "/devices")).toContain("iPhone First seen 10 min ago Last seen just now");
    });

    it("can be ended one by one, which a second click finds done", async () => {
      const app = createApp(createStore());
      const here = await signIn(app, "Ada", userAgents.firefox);
      const [phone, laptop] = [
        await signIn(app, "Ada", userAgents.safari),
        await signIn(app, "Ada", userAgents.opera),
      ];
      // The most recently used session is listed first.
      await pageText(phone);
      const [handle] = (await handlesOf(here)) as [string];
      expect(await submit(here, "/devices/end", { handle })).toBe("/devices#notice");
      expect(await pageText(here, "/devices")).toContain("The session has been ended. ");
      expect(await pageText(here, "/devices")).not.toMatch(/has been ended|iPhone/);
      expect([await isSignedIn(phone), await isSignedIn(laptop), await isSignedIn(here)]).toEqual([
        false,
        true,
        true,
      ]);
      expect(await submit(here, "/devices/end", { handle })).toBe("/devices#notice");
      expect(await pageText(here, "/devices")).toContain("That session had ended already.");
    });

    it("are not ended by the handle of another user, nor without a handle", async () => {
      const app = createApp(createStore());
      const [ada, bob] = [await signIn(app, "Ada"), await signIn(app, "Bob")];
      await signIn(app, "Bob");
      const [handle] = (await handlesOf(bob)) as [string];
      expect(await submit(ada, "/devices/end", { handle })).toBe("/devices#notice");
      expect(await pageText(ada, "/devices")).toContain("That session had ended already.");
      expect((await ada.attempt("POST /devices/end", {})).status).toBe(400);
      expect(await handlesOf(bob)).toEqual([handle]);
    });

    it("can all be ended but this one, and nobody else's", async () => {
      const app = createApp(createStore());
      const [here, there, phone, bob] = [
        await signIn(app, "Ada"),
        await signIn(app, "Ada"),
        await signIn(app, "Ada"),
        await signIn(app, "Bob"),
      ];
      expect(await submit(here, "/devices/end-others")).toBe("/devices#notice");
      expect([await isSignedIn(there), await isSignedIn(phone)]).toEqual([false, false]);
      expect(await pageText(here, "/devices")).toContain("2 sessions have been ended.");
      expect(await pageText(bob)).toContain("Hello, Bob");
      await submit(here, "/devices/end-others");
      expect(await pageText(here, "/devices")).toContain("No session has been ended.");
    });

    it("stay ended if one ends the others just after it was ended itself", async () => {
      const store = createStore();
      const app = createApp(store);
      const [here, there] = [await signIn(app, "Ada"), await signIn(app, "Ada")];
      const destroyByUser = store.destroyByUser.bind(store);
      jest.spyOn(store, "destroyByUser").mockImplementationOnce(async (...[user, options]: unknown[]) => {
        expect(await destroyByUser(user as string)).toBe(2);
        await destroyByUser(user as string, options as { except: string });
      });
      expect(await submit(here, "/devices/end-others")).toBe("/devices#notice");
      expect([await isSignedIn(here), await isSignedIn(there)]).toEqual([false, false]);
      expect(await store.length()).toBe(0);
    });

    it("all have a new role that an administrator gives, at their next click and without signing in", async () => {
      const app = createApp(createStore());
      const admin = await signIn(app, "admin");
      const devices = [await signIn(app, "Ada"), await signIn(app, "Ada")];
      const bob = await signIn(app, "Bob");
      await submit(devices[0] as Browser, "/cart/add", { product: "tea" });
      expect(await submit(admin, "/admin", { user: "Ada", role: "manager" })).toBe("/admin#notice");
      expect(await pageText(admin, "/admin")).toContain("Ada is now manager: 2 sessions have been changed.");
      for (const device of devices) expect(await pageText(device)).toContain("Your role is manager .");
      expect(await pageText(devices[0] as Browser)).toContain("Total €4.50");
      expect(await pageText(devices[1] as Browser, "/devices")).toMatch(/Role manager .*Role manager/);
      expect(await pageText(bob)).toContain("Your role is member .");
      // The current session is among the changed ones, while it is in use.
      await submit(admin, "/admin", { user: "admin", role: "guest" });
      expect(await pageText(admin, "/admin")).toContain("admin is now guest: 1 session has been changed.");
      expect(await pageText(admin)).toContain("Your role is guest .");
      await submit(admin, "/admin", { user: "Eve", role: "guest" });
      expect(await pageText(admin, "/admin")).toContain("Eve is not signed in, so no session was changed.");
    });

    it("have a page of roles for administrators only, which takes no other role", async () => {
      const app = createApp(createStore());
      const [admin, ada] = [await signIn(app, "admin"), await signIn(app, "Ada")];
      const form = { user: "Ada", role: "manager" };
      for (const response of [await ada.attempt("GET /admin"), await ada.attempt("POST /admin", form)]) {
        expect(response.status).toBe(403);
        expect(response.text).toContain("This page is for administrators.");
        expect(response.text).not.toContain('href="/admin"');
      }
      expect((await admin.attempt("POST /admin", { user: "Ada", role: "owner" })).status).toBe(400);
      expect((await admin.attempt("POST /admin", { user: " ", role: "guest" })).status).toBe(422);
      expect(await pageText(ada)).toContain("Your role is member .");
    });
  },
);
