import type { RequestListener } from "node:http";
import type { SessionData } from "express-session";
import type { AbstractStore, StoreOptions } from "../../../lib/index.js";
import type { Backend } from "../stores/backends.js";
import { Browser } from "./app.js";

export const { createApp } = require("../../../examples/app/app.js") as {
  createApp(store: AbstractStore): RequestListener;
};

const { userOf } = require("../../../examples/app/users.js") as {
  userOf(session: SessionData): string | undefined;
};

/** The options of the application's stores. `user` is left out on a backend that keeps no lists of users. */
export function optionsFor({ hasUsers }: Backend): StoreOptions {
  return hasUsers ? { user: userOf } : {};
}

/** Returns the text of a page as a browser would show it, in one line. */
export async function pageText(browser: Browser, path = "/"): Promise<string> {
  const { text } = await browser.send(`GET ${path}`);
  return text
    .slice(text.indexOf("<main>"), text.indexOf("</main>"))
    .replaceAll(/<[^>]*>/g, " ")
    .replaceAll(/\s+/g, " ");
}

/** Sends a form. Returns the path of the redirect. */
export async function submit(browser: Browser, path: string, form: Record<string, string> = {}) {
  const { status, headers } = await browser.attempt(`POST ${path}`, form);
  expect(status).toBe(303);
  return headers.location;
}

export async function signIn(app: Browser["app"], name: string, userAgent?: string): Promise<Browser> {
  const browser = new Browser(app);
  browser.userAgent = userAgent;
  expect(await submit(browser, "/sign-in", { name })).toBe("/");
  return browser;
}
