import { endOf, GRACE_MS, type LifetimePolicy } from "../../lib/core/expiry.js";
import { type Found, type StoredRecord, UNREADABLE } from "../../lib/core/record.js";
import { nextStep, type SaveFacts, type Step } from "../../lib/core/save/next-step.js";
import type { Origin } from "../../lib/core/save/tracked-sessions.js";
import { createdVersion, WriteIds } from "../../lib/core/save/write-ids.js";
import type { ConflictPolicy } from "../../lib/index.js";

const NOW = Date.UTC(2026, 0, 1);
const HOUR = 3600_000;

const lifetimes: LifetimePolicy = {
  touchAfterMs: 1000,
  absoluteTimeoutMs: undefined,
  tombstoneMs: 3_600_000,
};

/** The write ids of another process, and of this one. */
const [others, ours] = [new WriteIds(), new WriteIds()];
const ownId = ours.next();
const earlierId = ours.next();
const removalId = others.nextRemoval();

/** The version that the session was loaded from. */
const LOADED = createdVersion(others.next());
const CHANGED = others.extend(LOADED, others.next());

function found(version: string, changes: Partial<StoredRecord> = {}): Found {
  const record = { data: "{}", version, lifetime: HOUR, activeAt: NOW, createdAt: NOW, ...changes };
  return { record, token: "token" };
}

const tombstoneAt = (createdAt: number) => found(removalId, { data: "", lifetime: 0, createdAt });

const longAgo = { activeAt: NOW - 10 * HOUR, createdAt: NOW - 10 * HOUR };

/** The possible records under the session's key. */
const states = {
  nothing: undefined,
  unreadable: { record: UNREADABLE },
  tombstone: tombstoneAt(NOW),
  same: found(LOADED),
  // Touched by another process, a moment ago.
  touched: found(LOADED, { activeAt: NOW + 5 }),
  changed: found(CHANGED),
  // Destroyed, and created again under the same id.
  recreated: found(createdVersion(others.next())),
  "recreated over the tombstone": found(
    createdVersion(others.next(), tombstoneAt(NOW).record as StoredRecord),
  ),
  own: found(ours.extend(LOADED, ownId)),
  "own, changed by others": found(others.extend(ours.extend(LOADED, ownId), others.next())),
  "ended less than the grace period ago": found(LOADED, { activeAt: NOW - HOUR - 1000 - GRACE_MS + 1 }),
  "ended a grace period ago": found(LOADED, { activeAt: NOW - HOUR - 1000 - GRACE_MS }),
  "changed, ended long ago": found(CHANGED, longAgo),
} satisfies Record<string, Found | undefined>;

type State = keyof typeof states;

function factsOf(origin: Origin, changes: Partial<SaveFacts> = {}): SaveFacts {
  return {
    origin,
    known: origin === "loaded" ? (found(LOADED).record as StoredRecord) : undefined,
    seenAt: NOW,
    ownId,
    inDoubt: [],
    mayHaveTakenPlace: false,
    onlyUser: undefined,
    conflict: "merge",
    lifetimes,
    ...changes,
  };
}

/** Describes a step in words. */
function wordsOf(step: Step): string {
  if (step.kind === "create") return step.over === undefined ? "create" : "create over it";
  if (step.kind !== "replace") return step.kind;
  return `replace, since ${step.since}${step.merges ? ", merged" : ""}`;
}

const SAME = {
  merge: "replace, since nothing, merged",
  overwrite: "replace, since nothing",
  error: "replace, since nothing",
};
const CHANGE = {
  merge: "replace, since change, merged",
  overwrite: "replace, since change",
  error: "conflict",
};
const UNKNOWN = {
  merge: "replace, since unknown, merged",
  overwrite: "replace, since unknown",
  error: "conflict",
};
const PLAIN = "replace, since nothing";

type Expected = string | Record<ConflictPolicy, string>;

/** The step for each kind of session object in each state. */
const table: Record<State, Record<Origin, Expected>> = {
  nothing: {
    loaded: "gone",
    new: "create",
    copy: "create",
    moved: "create",
    mirrored: "create",
    plain: "create",
  },
  unreadable: {
    loaded: "unreadable",
    new: "unreadable",
    copy: "unreadable",
    moved: "unreadable",
    mirrored: "unreadable",
    plain: "unreadable",
  },
  tombstone: {
    loaded: "gone",
    new: "create over it",
    copy: "gone",
    moved: "gone",
    mirrored: "gone",
    plain: "create over it",
  },
  same: { loaded: SAME, new: UNKNOWN, copy: UNKNOWN, moved: "gone", mirrored: PLAIN, plain: PLAIN },
  touched: { loaded: SAME, new: UNKNOWN, copy: UNKNOWN, moved: "gone", mirrored: PLAIN, plain: PLAIN },
  changed: { loaded: CHANGE, new: UNKNOWN, copy: UNKNOWN, moved: "gone", mirrored: UNKNOWN, plain: PLAIN },
  recreated: { loaded: "gone", new: UNKNOWN, copy: UNKNOWN, moved: "gone", mirrored: PLAIN, plain: PLAIN },
  "recreated over the tombstone": {
    loaded: "gone",
    new: UNKNOWN,
    copy: UNKNOWN,
    moved: "gone",
    mirrored: UNKNOWN,
    plain: PLAIN,
  },
  own: { loaded: "done", new: "done", copy: "done", moved: "done", mirrored: "done", plain: "done" },
  "own, changed by others": {
    loaded: "done",
    new: "done",
    copy: "done",
    moved: "done",
    mirrored: "done",
    plain: "done",
  },
  "ended less than the grace period ago": {
    loaded: SAME,
    new: "create over it",
    copy: UNKNOWN,
    moved: "gone",
    mirrored: PLAIN,
    plain: PLAIN,
  },
  "ended a grace period ago": {
    loaded: "gone",
    new: "create over it",
    copy: "gone",
    moved: "create over it",
    mirrored: "gone",
    plain: "create over it",
  },
  "changed, ended long ago": {
    loaded: "gone",
    new: "create over it",
    copy: "gone",
    moved: "create over it",
    mirrored: "gone",
    plain: "create over it",
  },
};

const policies: ConflictPolicy[] = ["merge", "overwrite", "error"];

const cases = Object.entries(table).flatMap(([state, byOrigin]) =>
  Object.entries(byOrigin).flatMap(([origin, expected]) =>
    policies.map(conflict => ({
      state: state as State,
      origin: origin as Origin,
      conflict,
      expected: typeof expected === "string" ? expected : expected[conflict],
    })),
  ),
);

it.each(cases)(
  "the next step for a $origin session, stored: $state, conflict: $conflict, is: $expected",
  each => {
    const { state, origin, conflict, expected } = each;
    expect(wordsOf(nextStep(factsOf(origin, { conflict }), states[state], NOW))).toBe(expected);
  },
);

it("the next step writes over exactly what it was given, token included", () => {
  for (const state of ["same", "changed", "tombstone"] as const) {
    const step = nextStep(factsOf("plain"), states[state], NOW);
    expect(step).toMatchObject({ over: states[state] });
  }
});

describe("plain data that has found a record", () => {
  // It replaces the record that it found first. A later change in between is a change by another request.
  const known = found(LOADED).record as StoredRecord;

  it.each(policies)("treats a later change of it as one by others: %s", conflict => {
    const facts = factsOf("plain", { known, conflict });
    expect(wordsOf(nextStep(facts, states.changed, NOW))).toBe(CHANGE[conflict]);
    expect(wordsOf(nextStep(facts, states.recreated, NOW))).toBe("gone");
  });
});

describe("a write in doubt", () => {
  const inDoubt = [{ id: earlierId, text: '{"views":2}' }];
  const last = found(ours.extend(LOADED, earlierId));
  const followed = found(others.extend(ours.extend(LOADED, earlierId), others.next()));

  it.each(policies)("that took place is the merge base, and no conflict: %s", conflict => {
    const step = nextStep(factsOf("loaded", { inDoubt, conflict }), last, NOW);
    expect(step).toEqual({
      kind: "replace",
      over: last,
      since: "nothing",
      merges: true,
      baseText: '{"views":2}',
    });
  });

  it("that others wrote after is the merge base for their change", () => {
    const step = (conflict: ConflictPolicy) =>
      nextStep(factsOf("loaded", { inDoubt, conflict }), followed, NOW);
    expect(step("merge")).toMatchObject({ since: "change", merges: true, baseText: '{"views":2}' });
    expect(step("overwrite")).toMatchObject({ since: "change", merges: false });
    expect(step("error")).toEqual({ kind: "conflict" });
  });

  it("of a new session that took place is its record", () => {
    const created = found(createdVersion(earlierId));
    expect(nextStep(factsOf("new", { inDoubt }), created, NOW)).toMatchObject({
      kind: "replace",
      since: "nothing",
      baseText: '{"views":2}',
    });
  });

  it("that did not take place decides nothing", () => {
    const step = nextStep(factsOf("loaded", { inDoubt }), states.same, NOW);
    expect(wordsOf(step)).toBe(SAME.merge);
    expect(step).not.toHaveProperty("baseText");
  });

  it("of two is the later one, if both took place", () => {
    const laterId = ours.next();
    const both = [...inDoubt, { id: laterId, text: '{"views":3}' }];
    for (const id of [earlierId, laterId]) ours.sent(id);
    const version = ours.extend(ours.extend(LOADED, earlierId), laterId);
    const step = nextStep(factsOf("loaded", { inDoubt: both }), found(version), NOW);
    expect(step).toMatchObject({ baseText: '{"views":3}', since: "nothing" });
    for (const id of [earlierId, laterId]) ours.settled(id);
  });
});

describe("a tombstone", () => {
  const facts = (changes: Partial<SaveFacts>) => factsOf("new", { mayHaveTakenPlace: true, ...changes });

  it("may be that of an earlier attempt, unless the session began after it on any clock", () => {
    expect(wordsOf(nextStep(facts({ seenAt: NOW }), tombstoneAt(NOW), NOW))).toBe("gone");
    // The clocks of hosts differ by less than the grace period.
    expect(wordsOf(nextStep(facts({ seenAt: NOW + GRACE_MS }), tombstoneAt(NOW), NOW))).toBe("gone");
    expect(wordsOf(nextStep(facts({ seenAt: NOW + GRACE_MS + 1 }), tombstoneAt(NOW), NOW))).toBe(
      "create over it",
    );
  });

  it("stops no session of which nothing was sent before, whatever the clocks say", () => {
    for (const seenAt of [NOW - HOUR, NOW, NOW + HOUR]) {
      expect(wordsOf(nextStep(factsOf("new", { seenAt }), tombstoneAt(NOW), NOW))).toBe("create over it");
    }
  });
});

it("the next step depends on no clock but the one it is given", () => {
  const record = states.same?.record as StoredRecord;
  const end = endOf(record, lifetimes);
  expect(wordsOf(nextStep(factsOf("loaded"), states.same, end + GRACE_MS - 1))).toBe(SAME.merge);
  expect(wordsOf(nextStep(factsOf("loaded"), states.same, end + GRACE_MS))).toBe("gone");
});
