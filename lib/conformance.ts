import { type Backend, runTest, type Topic } from "./conformance/harness.js";
import { absoluteTimeoutTests } from "./conformance/topics/absolute-timeout.js";
import { argumentTests, optionTests } from "./conformance/topics/arguments.js";
import { bulkTests } from "./conformance/topics/bulk.js";
import { callbackTests, expressSessionTests } from "./conformance/topics/callbacks.js";
import { corruptTests, foreignRecordTests } from "./conformance/topics/corrupt.js";
import { destroyTests } from "./conformance/topics/destroy.js";
import { expiryTests } from "./conformance/topics/expiry.js";
import { getTests } from "./conformance/topics/get.js";
import { goneTests } from "./conformance/topics/gone.js";
import { lifecycleTests } from "./conformance/topics/lifecycle.js";
import { limitTests } from "./conformance/topics/limits.js";
import { mergeTests } from "./conformance/topics/merge.js";
import { outageTests } from "./conformance/topics/outage.js";
import { overlappingTests } from "./conformance/topics/overlapping.js";
import { policyTests } from "./conformance/topics/policies.js";
import { prefixTests } from "./conformance/topics/prefixes.js";
import { queueTests } from "./conformance/topics/queue.js";
import { setTests, sizeLimitTests } from "./conformance/topics/set.js";
import { sharedTests } from "./conformance/topics/shared.js";
import { touchTests } from "./conformance/topics/touch.js";
import { touchAfterTests } from "./conformance/topics/touch-after.js";
import type { AbstractStore } from "./index.js";

/** The arguments of {@link storeConformance}. */
export interface ConformanceOptions<S extends AbstractStore = AbstractStore> extends Backend<S> {
  /** The runner's function that groups tests. */
  describe(name: string, body: () => void): unknown;
  /** The runner's function that defines a test. */
  it(name: string, body: () => Promise<void>): unknown;
}

const topics: Record<string, Topic> = {
  get: getTests,
  set: setTests,
  touch: touchTests,
  touchAfter: touchAfterTests,
  destroy: destroyTests,
  "all, ids, length, entries and clear": bulkTests,
  expiry: expiryTests,
  absoluteTimeout: absoluteTimeoutTests,
  "sessions that are gone": goneTests,
  "sessions that changed": mergeTests,
  "saves of one Session": queueTests,
  "overlapping requests": overlappingTests,
  "conflict policies": policyTests,
  callbacks: callbackTests,
  "express-session": expressSessionTests,
  options: optionTests,
  arguments: argumentTests,
  "close and ping": lifecycleTests,
  "signals and time limits": limitTests,
  "corrupt records": corruptTests,
};

/** Topics that not every backend, or not every factory, can take. */
const optionalTopics: Record<string, [Topic, applies: (backend: Backend) => boolean]> = {
  "two stores on one backend": [sharedTests, isShared],
  prefixes: [prefixTests, isShared],
  "the size limit": [sizeLimitTests, backend => backend.capabilities?.maxSessionBytes !== undefined],
  "foreign records": [foreignRecordTests, backend => backend.plant !== undefined],
  outages: [outageTests, backend => backend.breakBackend !== undefined],
};

function isShared(backend: Backend): boolean {
  return backend.capabilities?.shared ?? true;
}

/**
 * Defines the tests of the contract that the stores of this package keep, for any store on {@link AbstractStore} and
 * with any test runner. Each test uses a random prefix, closes its stores and removes their sessions: a backend may
 * be shared with other tests and needs no cleaning. What cannot be tested on a backend is named in the suite's name.
 *
 * @example
 * const { describe, it } = require("node:test");
 * storeConformance({ describe, it, createStore: options => new RedisStore({ ...options, client }) });
 */
export function storeConformance<S extends AbstractStore>(options: ConformanceOptions<S>): void {
  const { describe, it } = options;
  const backend = options as Backend as Backend<AbstractStore>;
  const applying = { ...topics };
  const leftOut: string[] = [];
  for (const [name, [topic, applies]] of Object.entries(optionalTopics)) {
    if (applies(backend)) applying[name] = topic;
    else leftOut.push(name);
  }
  const suffix = leftOut.length === 0 ? "" : ` (not tested: ${leftOut.join(", ")})`;
  describe(`the contract of session stores${suffix}`, () => {
    for (const [name, topic] of Object.entries(applying)) {
      describe(name, () => topic((test, body) => it(test, () => runTest(backend, body))));
    }
  });
}
