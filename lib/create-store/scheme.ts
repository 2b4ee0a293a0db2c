import type { AbstractStore } from "../core/abstract-store.js";
import type { StoreOptions } from "../core/store-options.js";
import type { Options, Readers } from "./parameters.js";
import type { StoreUrl } from "./store-url.js";

/** What a scheme of URLs stands for. */
export interface Scheme {
  /** A URL of it, for errors. */
  readonly example: string;
  /** Its parameters, without those that every store has. */
  readonly parameters: Readers;
  /**
   * Loads the store and creates it, without I/O.
   *
   * @param values - the values of the parameters
   * @throws TypeError if the URL or an option is wrong
   * @throws Error if the package of the client is not installed
   */
  open(url: StoreUrl, values: Options, options: StoreOptions): AbstractStore;
}
