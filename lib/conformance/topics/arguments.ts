import assert from "node:assert/strict";
import { Store } from "express-session";
import type { StoreOptions } from "../../index.js";
import type { DefineTest } from "../harness.js";
import { calledBack, invoke, methodNames } from "../observe.js";
import { plain, stored } from "../sessions.js";

const badOptions: Record<string, unknown[]> = {
  prefix: [42, null, "p".repeat(513), "\ud800"],
  ttl: [Number.NaN, 0, -1, Number.POSITIVE_INFINITY, "60", null],
  touchAfter: [Number.NaN, -1, Number.POSITIVE_INFINITY, "60"],
  absoluteTimeout: [Number.NaN, 0, -1, "60"],
  conflict: ["theirs", true],
  disableTouch: [1, "yes"],
  serializer: [{}, null, { stringify: JSON.stringify }, { parse: JSON.parse }],
  timeoutMs: [Number.NaN, 0, -1, Number.POSITIVE_INFINITY, "60"],
  now: [Date.now(), null],
};

export function optionTests(test: DefineTest): void {
  for (const [name, values] of Object.entries(badOptions)) {
    test(`a bad \`${name}\` is rejected with a TypeError that names option, value and expectation`, async ({
      open,
    }) => {
      for (const value of values) {
        await assert.rejects(open({ [name]: value } as StoreOptions), (error: Error) => {
          assert.equal(error.name, "TypeError");
          assert.match(error.message, new RegExp(`^Expected \`${name}\` to be `));
          if (typeof value === "number") assert.ok(error.message.includes(`\`${value}\` (number)`));
          return true;
        });
      }
    });
  }

  test("an unknown option is rejected with a TypeError that does not show its value", async ({ open }) => {
    for (const name of ["tll", "toString"]) {
      await assert.rejects(open({ [name]: "hunter2" } as StoreOptions), (error: Error) => {
        assert.equal(error.name, "TypeError");
        assert.match(error.message, new RegExp(`^Unknown option \`${name}\`\\. .*\\bprefix\\b`));
        assert.ok(!error.message.includes("hunter2"));
        return true;
      });
    }
  });

  test("touchAfter together with disableTouch is rejected with a TypeError", async ({ open }) => {
    await assert.rejects(open({ touchAfter: 60, disableTouch: true }), { name: "TypeError" });
  });

  test("an option of undefined counts as left out", async ({ open, prefix }) => {
    const undefinedOptions = Object.fromEntries(
      [
        "ttl",
        "touchAfter",
        "absoluteTimeout",
        "conflict",
        "disableTouch",
        "serializer",
        "timeoutMs",
        "now",
      ].map(name => [name, undefined]),
    );
    const store = await open(undefinedOptions);
    await store.set("sid", plain({ user: "ann" }));
    assert.deepEqual(await stored(store, "sid"), { user: "ann" });
    assert.equal(store.prefix, prefix);
    assert.equal((await open({ prefix: undefined })).prefix, "sess:");
  });

  test("the store is a Store of express-session", async ({ open }) => {
    assert.ok((await open()) instanceof Store);
  });
}

const badSids = ["", undefined, null, 42, {}, ["sid"], Object("sid")];
const badSessions = [undefined, null, 42, "text", true];
const isTypeError = { name: "TypeError", message: /^Expected `/ };

export function argumentTests(test: DefineTest): void {
  for (const method of ["get", "set", "touch", "destroy"] as const) {
    test(`${method} rejects a sid that is empty or not a string with a TypeError`, async ({ open }) => {
      const store = await open();
      for (const sid of badSids) {
        const args = method === "get" || method === "destroy" ? [sid] : [sid, plain()];
        await assert.rejects(invoke(store, method, undefined, args), isTypeError);
      }
      const args = method === "get" || method === "destroy" ? [""] : ["", plain()];
      const { error } = await calledBack(callback => invoke(store, method, callback, args));
      assert.equal((error as Error).name, "TypeError");
      assert.deepEqual(await store.ids(), []);
    });
  }

  for (const method of ["set", "touch"] as const) {
    test(`${method} rejects a session that is no object with a TypeError and leaves the record`, async ({
      open,
    }) => {
      const store = await open();
      await store.set("sid", plain({ user: "ann" }));
      for (const session of badSessions) {
        await assert.rejects(invoke(store, method, undefined, ["sid", session]), isTypeError);
      }
      assert.deepEqual(await stored(store, "sid"), { user: "ann" });
    });
  }

  test("every method rejects what is neither a callback nor { signal } with a TypeError", async ({
    open,
  }) => {
    const store = await open();
    for (const method of methodNames) {
      for (const last of [42, "callback", { signal: "stop" }]) {
        await assert.rejects(invoke(store, method, last), isTypeError);
      }
    }
  });

  test("null is no callback, as req.session.destroy(null) has it", async ({ open }) => {
    const store = await open();
    await store.set("sid", plain());
    await store.destroy("sid", null as never);
    assert.equal(await store.get("sid"), null);
    await store.close(null as never);
  });

  test("close rejects what is no callback with a TypeError, and entries what is not { signal }", async ({
    open,
  }) => {
    const store = await open();
    await store.set("sid", plain());
    for (const last of [42, { signal: new AbortController().signal }]) {
      await assert.rejects(store.close(last as never) as unknown as Promise<void>, isTypeError);
    }
    for (const last of [42, null, () => {}, { signal: "stop" }]) {
      await assert.rejects(store.entries(last as never).next(), isTypeError);
    }
    assert.equal(await store.length(), 1);
  });
}
