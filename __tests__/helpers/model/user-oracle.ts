/** When a call began and ended, in the order of all beginnings and ends. */
export interface Interval {
  start: number;
  /** {@link INFINITY} as long as the call may still take place. */
  end: number;
}

const INFINITY = Number.POSITIVE_INFINITY;

type Outcome = "done" | "doubtful" | "refused" | undefined;

/** A call that gives a session a user, or none, or that destroys one session or all sessions of a user. */
interface Event extends Interval {
  outcome: Outcome;
}

interface UserChange extends Event {
  readonly user: string | undefined;
}

interface Device {
  /** The first change created the session. */
  readonly changes: UserChange[];
  readonly removals: Event[];
}

/**
 * Derives from a history what must hold for every order of the overlapping calls: which user certainly has a session,
 * and which sessions have certainly ended. Everything else is undecided.
 */
export class UserOracle {
  readonly #limit: number | undefined;
  readonly #devices = new Map<string, Device>();
  readonly #removalsByUser: (Event & { readonly user: string })[] = [];
  #time = 0;

  /** @param limit - the most sessions of a user, if there is a limit, because it ends sessions by itself */
  constructor(limit: number | undefined) {
    this.#limit = limit;
  }

  begin(): Interval {
    return { start: this.#time++, end: INFINITY };
  }

  end(interval: Interval): void {
    interval.end = this.#time++;
  }

  created(device: string, user: string | undefined): UserChange {
    this.#devices.set(device, { changes: [], removals: [] });
    return this.changed(device, user);
  }

  changed(device: string, user: string | undefined): UserChange {
    const change: UserChange = { ...this.begin(), outcome: undefined, user };
    this.#devices.get(device)?.changes.push(change);
    return change;
  }

  destroyed(device: string): Event {
    const removal: Event = { ...this.begin(), outcome: undefined };
    this.#devices.get(device)?.removals.push(removal);
    return removal;
  }

  destroyedByUser(user: string): Event {
    const removal = { ...this.begin(), outcome: undefined, user };
    this.#removalsByUser.push(removal);
    return removal;
  }

  /** Whether the session, if it lives, has this user during the whole interval. */
  #isCertainly(user: string | undefined, device: string, { start, end }: Interval): boolean {
    const changes = (this.#devices.get(device) as Device).changes.filter(
      ({ outcome }) => outcome !== "refused",
    );
    return changes.some(
      change =>
        change.user === user &&
        change.outcome === "done" &&
        change.end < start &&
        changes.every(other => other === change || other.end < change.start || other.start > end),
    );
  }

  /** Whether the session has certainly ended before the interval. */
  #hasEnded(device: string, { start }: Interval): boolean {
    const { changes, removals } = this.#devices.get(device) as Device;
    const [creation] = changes as [UserChange];
    const isOver = (removal: Event) => removal.outcome === "done" && removal.end < start;
    if (removals.some(each => isOver(each) && creation.outcome === "done" && creation.end < each.start))
      return true;
    return this.#removalsByUser.some(each => isOver(each) && this.#isCertainly(each.user, device, each));
  }

  /** Whether the session certainly lives during the whole interval. */
  #lives(device: string, { start, end }: Interval): boolean {
    if (this.#limit !== undefined) return false;
    const { changes, removals } = this.#devices.get(device) as Device;
    const [creation] = changes as [UserChange];
    const mayEnd = (removal: Event) =>
      removal.outcome !== "refused" && removal.start < end && removal.end > creation.start;
    const users = changes.map(({ user }) => user);
    return (
      creation.outcome === "done" &&
      creation.end < start &&
      !removals.some(mayEnd) &&
      !this.#removalsByUser.some(each => mayEnd(each) && users.includes(each.user))
    );
  }

  checkList(user: string, during: Interval, shown: readonly string[]): void {
    if (new Set(shown).size !== shown.length)
      throw new Error(`A session of ${user} is listed twice: ${shown}`);
    for (const device of this.#devices.keys()) {
      const isShown = shown.includes(device);
      if (isShown && this.#hasEnded(device, during))
        throw new Error(`${device} of ${user} is listed, but has ended`);
      if (isShown && this.#isCertainlyNot(user, device, during))
        throw new Error(`${device} is not ${user}'s, but is listed`);
      if (!isShown && this.#certainlyListed(user, device, during)) {
        throw new Error(`${device} of ${user} is not listed: ${shown}`);
      }
    }
    this.#checkLimit(user, shown.length);
  }

  checkCount(user: string, during: Interval, count: number, by: string): void {
    const devices = [...this.#devices.keys()];
    const atLeast = devices.filter(device => this.#certainlyListed(user, device, during)).length;
    const atMost = devices.filter(
      device => !this.#hasEnded(device, during) && !this.#isCertainlyNot(user, device, during),
    ).length;
    if (count < atLeast || count > atMost) {
      throw new Error(`${by} of ${user} gave ${count}, expected ${atLeast} to ${atMost}`);
    }
    if (by === "countByUser") this.#checkLimit(user, count);
  }

  /** Called at the end: no ended session lives, and no session is lost. */
  checkLive(now: Interval, live: ReadonlyMap<string, unknown>): void {
    for (const device of this.#devices.keys()) {
      if (live.has(device) && this.#hasEnded(device, now)) throw new Error(`${device} lives, but has ended`);
      if (!live.has(device) && this.#lives(device, now)) throw new Error(`${device} was lost`);
      for (const user of ["ann", "bob", undefined]) {
        if (live.has(device) && live.get(device) !== user && this.#isCertainly(user, device, now)) {
          throw new Error(`${device} is ${user}'s, but has the user ${live.get(device)}`);
        }
      }
    }
    if (this.#limit === undefined) return;
    for (const user of new Set(live.values())) {
      if (user === undefined) continue;
      this.#checkLimit(String(user), [...live.values()].filter(each => each === user).length);
    }
  }

  #checkLimit(user: string, count: number): void {
    if (this.#limit !== undefined && count > this.#limit) {
      throw new Error(`${user} has ${count} sessions, which exceeds the limit of ${this.#limit}`);
    }
  }

  #certainlyListed(user: string, device: string, during: Interval): boolean {
    return this.#lives(device, during) && this.#isCertainly(user, device, during);
  }

  #isCertainlyNot(user: string, device: string, during: Interval): boolean {
    return ["ann", "bob", undefined].some(
      other => other !== user && this.#isCertainly(other, device, during),
    );
  }
}
