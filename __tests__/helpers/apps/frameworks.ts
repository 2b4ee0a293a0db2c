import type { AbstractStore, ConflictEvent, StoreOptions } from "../../../lib/index.js";
import { type Backend, backends, file, useBackend } from "../stores/backends.js";
import {
  type AppOptions,
  type AppRequest,
  Browser,
  createApp,
  type FrameworkName,
  Gate,
  type Handler,
  meeting,
  settled,
} from "./app.js";

interface Combination {
  readonly framework: FrameworkName;
  readonly backend: Backend;
}

/** Every backend under Express 5, and the other frameworks on one backend. */
const combinations: readonly Combination[] = [
  ...backends.map(backend => ({ framework: "Express 5" as const, backend })),
  { framework: "Express 4", backend: file },
  { framework: "connect", backend: file },
];

export const onPersistentBackends = combinations.filter(({ backend }) => backend.persistent);

interface Apps {
  createStore(options?: StoreOptions): AbstractStore;
  openApp(store: AbstractStore, options?: AppOptions): ReturnType<typeof createApp>;
  /** Returns a browser that is signed in as ada. */
  signIn(store: AbstractStore, options?: AppOptions): Promise<Browser>;
  /** Errors of express-session at the end of a request. A test that expects errors removes them. */
  readonly errors: unknown[];
}

/** Describes applications that use sessions, on each framework and backend. */
export function describeApps(define: (apps: Apps) => void, on = combinations): void {
  describe.each(on)("$framework, sessions in $backend.name", ({ framework, backend }) => {
    const createStore = useBackend(backend);
    const errors: unknown[] = [];

    // express-session saves at the end of a request, when an error can no longer change the response.
    afterEach(() => expect(errors.splice(0)).toEqual([]));

    afterEach(() => {
      jest.useRealTimers();
      jest.restoreAllMocks();
    });

    const openApp = (store: AbstractStore, options: AppOptions = {}) =>
      createApp(store, { framework, onError: error => errors.push(error), ...options });

    async function signIn(store: AbstractStore, options: AppOptions = {}): Promise<Browser> {
      const browser = new Browser(openApp(store, options));
      await browser.send("POST /sign-in?user=ada");
      return browser;
    }

    define({ createStore, openApp, signIn, errors });
  });
}

/** Counts the store's writes to its backend: saves, touches and deletes. */
export function countWrites(
  store: AbstractStore,
): () => { saves: number; touches: number; removals: number } {
  const primitives = store as unknown as Record<"_write" | "_touch" | "_remove", () => unknown>;
  const saves = jest.spyOn(primitives, "_write");
  const touches = jest.spyOn(primitives, "_touch");
  const removals = jest.spyOn(primitives, "_remove");
  return () => ({
    saves: saves.mock.calls.length,
    touches: touches.mock.calls.length,
    removals: removals.mock.calls.length,
  });
}

export function conflictsOf(store: AbstractStore): ConflictEvent[] {
  const conflicts: ConflictEvent[] = [];
  store.on("conflict", conflict => conflicts.push(conflict));
  return conflicts;
}

export const save = (req: AppRequest) => settled(done => req.session.save(done));

/**
 * A route where `count` requests wait for each other with their sessions loaded. Then each makes the changes in its
 * query.
 */
export function setTogether(count: number): Record<string, Handler> {
  const meet = meeting(count);
  return {
    "POST /set-together": async (req, params) => {
      await meet();
      Object.assign(req.session, Object.fromEntries(params));
    },
  };
}

/** The changes of `count` requests to set-together, each with its own key. */
export function changesOf(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`key${index}`, `${index}`]));
}

/** A request that loads its session and does `begin`. It does `end` after other requests have had their turn. */
export function slowRequest(end: Handler, begin: Handler = () => {}) {
  const gate = new Gate();
  const slow: Handler = async (...args) => {
    begin(...args);
    await gate.pass();
    return end(...args);
  };
  return {
    routes: { "POST /slow": slow },
    /** Sends the request, and does `meanwhile` while the request is held. Returns its response. */
    async during(browser: Browser, meanwhile: () => unknown) {
      const answer = browser.send("POST /slow");
      await gate.reached;
      await meanwhile();
      gate.open();
      return await answer;
    },
  };
}

export const readOnly: Handler = req => req.session.user;
export const change: Handler = req => {
  req.session.slow = true;
};
