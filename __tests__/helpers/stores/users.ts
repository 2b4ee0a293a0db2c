import { newOperation, primitivesOf } from "../../../lib/conformance/primitives.js";
import { SessionKeys } from "../../../lib/core/keys.js";
import type { AbstractStore } from "../../../lib/index.js";
import { type Backend, backends } from "./backends.js";

/** The backends that support the option `user`: dynalite has no transactions. */
export const userBackends: readonly Backend[] = backends.filter(({ name }) => !name.includes("dynalite"));

/** The sids of the entries in a user's list in the backend, in order, including those without a session. */
export async function entriesOf(store: AbstractStore, user: string): Promise<string[]> {
  const keys = new SessionKeys(store.prefix);
  const { sessions } = await primitivesOf(store)._listUser(user, newOperation());
  return sessions.map(({ key }) => keys.sidOf(key)).sort();
}
