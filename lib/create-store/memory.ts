import { combine, number } from "./parameters.js";
import type { Scheme } from "./scheme.js";
import { wrongUrl } from "./store-url.js";

/** `memory:` */
export const memory: Scheme = {
  example: "memory:",
  parameters: { max: number, maxBytes: number, cleanupInterval: number },
  open({ scheme, authority, path }, values, options) {
    if (authority || path) throw wrongUrl(scheme, "names a place, but memory has none: expected `memory:`");
    const { MemoryStore } = require("../memory.js") as typeof import("../memory.js");
    return new MemoryStore(combine(values, options));
  },
};
