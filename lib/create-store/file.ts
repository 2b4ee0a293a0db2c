import { combine, number } from "./parameters.js";
import type { Scheme } from "./scheme.js";
import { wrongUrl } from "./store-url.js";

/** `file:./data/sessions.lmdb`, `file:/data/sessions.lmdb`, `file:///data/sessions.lmdb` */
export const file: Scheme = {
  example: "file:./data/sessions.lmdb",
  parameters: { cleanupInterval: number },
  open({ scheme, authority, path }, values, options) {
    if (authority) {
      throw wrongUrl(
        scheme,
        "has a host after `//`. Expected `file:./data/sessions.lmdb` from the working directory, or `file:/data/sessions.lmdb`",
      );
    }
    if (path === "" || path.endsWith("/") || path.includes("\0")) {
      throw wrongUrl(scheme, "does not name a file: expected one such as `file:./data/sessions.lmdb`");
    }
    const { FileStore } = require("../file.js") as typeof import("../file.js");
    return new FileStore(combine({ ...values, path }, options));
  },
};
