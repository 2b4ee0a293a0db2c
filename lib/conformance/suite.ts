import type { AbstractStore } from "../index.js";
import { type BackendUnderTest, runTest, type Topic } from "./harness.js";
import { absoluteTimeoutTests } from "./topics/absolute-timeout.js";
import { argumentTests, optionTests } from "./topics/arguments.js";
import { callbackTests, expressSessionTests } from "./topics/callbacks.js";
import { clockSkewTests, clockTests } from "./topics/clocks.js";
import { concurrentRequestTests } from "./topics/concurrent-requests.js";
import { conflictPolicyTests } from "./topics/conflict-policies.js";
import { corruptRecordTests, foreignRecordTests } from "./topics/corrupt.js";
import { destroyTests } from "./topics/destroy.js";
import { destroyedSessionTests } from "./topics/destroyed-sessions.js";
import { getTests } from "./topics/get.js";
import { lifecycleTests } from "./topics/lifecycle.js";
import { lifetimeChangeTests } from "./topics/lifetime-changes.js";
import { lifetimeTests } from "./topics/lifetimes.js";
import { listingTests } from "./topics/listings.js";
import { mergeTests } from "./topics/merge.js";
import { outageTests } from "./topics/outage.js";
import { prefixTests } from "./topics/prefixes.js";
import { primitiveTests } from "./topics/primitives.js";
import { repeatedWriteTests } from "./topics/repeated-writes.js";
import { saveQueueTests } from "./topics/save-queue.js";
import { setTests, sizeLimitTests } from "./topics/set.js";
import { sharedTests } from "./topics/shared.js";
import { timeoutAndSignalTests } from "./topics/timeouts-and-signals.js";
import { touchTests } from "./topics/touch.js";
import { touchAfterTests } from "./topics/touch-after.js";
import { untrackedObjectTests } from "./topics/untracked-objects.js";
import { endByUserTests } from "./topics/users/end.js";
import { findByUserTests } from "./topics/users/find.js";
import { sessionLimitTests } from "./topics/users/limit.js";
import { userArgumentTests, userSecretTests } from "./topics/users/secrets.js";

/** The arguments of {@link storeConformance}. */
export interface ConformanceOptions<S extends AbstractStore = AbstractStore> extends BackendUnderTest<S> {
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
  listings: listingTests,
  lifetimes: lifetimeTests,
  "changes of the lifetime": lifetimeChangeTests,
  absoluteTimeout: absoluteTimeoutTests,
  clocks: clockTests,
  "destroyed sessions": destroyedSessionTests,
  "untracked session objects": untrackedObjectTests,
  "concurrent requests": concurrentRequestTests,
  merge: mergeTests,
  "conflict policies": conflictPolicyTests,
  "save queue": saveQueueTests,
  "repeated and late writes": repeatedWriteTests,
  primitives: primitiveTests,
  callbacks: callbackTests,
  "express-session": expressSessionTests,
  options: optionTests,
  arguments: argumentTests,
  "close and ping": lifecycleTests,
  "timeouts and signals": timeoutAndSignalTests,
  "corrupt records": corruptRecordTests,
};

/** Topics that do not apply to every backend, or need more of the factory than `createStore`. */
const optionalTopics: Record<string, [Topic, applies: (backend: BackendUnderTest) => boolean]> = {
  "two stores on one backend": [sharedTests, isShared],
  "two clocks": [clockSkewTests, isShared],
  prefixes: [prefixTests, isShared],
  "the size limit": [sizeLimitTests, backend => backend.capabilities?.maxSessionBytes !== undefined],
  "foreign records": [foreignRecordTests, backend => backend.putRaw !== undefined],
  "findByUser and reindex": [findByUserTests, hasUsers],
  "ending and changing the sessions of users": [endByUserTests, hasUsers],
  maxSessionsPerUser: [sessionLimitTests, hasUsers],
  "users and secrets": [userSecretTests, hasUsers],
  "arguments for users": [userArgumentTests, hasUsers],
  outages: [outageTests, backend => backend.breakBackend !== undefined],
};

function hasUsers(backend: BackendUnderTest): boolean {
  return backend.capabilities?.users ?? false;
}

function isShared(backend: BackendUnderTest): boolean {
  return backend.capabilities?.shared ?? true;
}

/**
 * Defines the tests of the contract that the stores of this package keep, for any store on {@link AbstractStore} and
 * with any test runner. Each test uses a random prefix, closes its stores and destroys their sessions, so the backend
 * may be shared with other tests. Tombstones stay for an hour, if the backend keeps them, and lists of users until their
 * entries end. The suite's name says what it leaves out.
 *
 * @example
 * const { after, before, describe, it } = require("node:test");
 * before(() => client.connect());
 * after(() => client.close());
 * storeConformance({ describe, it, createStore: options => new RedisStore({ ...options, client }) });
 */
export function storeConformance<S extends AbstractStore>(options: ConformanceOptions<S>): void {
  const { describe, it } = options;
  const backend = options as BackendUnderTest as BackendUnderTest<AbstractStore>;
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
