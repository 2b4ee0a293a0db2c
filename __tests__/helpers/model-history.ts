import assert from "node:assert/strict";

/*
 * What several clients did at once to one session id, and whether a store that keeps the contract can have answered
 * so. Each creation gives the session another `life`; each client changes a key of its own, named after it.
 */

/** What a client did. A save is named by the life that it had loaded. */
export type Action =
  | { kind: "create"; life: string }
  | { kind: "save"; life: string; client: string; value: unknown }
  | { kind: "destroy" }
  | { kind: "read"; life: string | null; fields: Record<string, unknown> };

type Done<A extends Action = Action> = A & {
  /** Numbers in the order in which calls and answers came. */
  called: number;
  answered: number;
};

export class History {
  readonly #done: Done[] = [];
  #order = 0;

  /** Notes when something is called and when it is answered; `work` gives what it was. */
  async note<A extends Action>(work: () => Promise<A>): Promise<A> {
    const called = ++this.#order;
    const action = await work();
    this.#done.push({ ...action, called, answered: ++this.#order });
    return action;
  }

  /** @throws AssertionError for the first read that no store may give */
  check(): void {
    for (const read of this.#of("read")) {
      try {
        if (read.life === null) this.#checkAbsent(read);
        else this.#checkPresent(read, read.life);
      } catch (error) {
        const before = this.#done.filter(({ called }) => called < read.answered);
        (error as Error).message += `\n${before.map(action => JSON.stringify(action)).join("\n")}`;
        throw error;
      }
    }
  }

  /** What was created and acknowledged is there until somebody removes it. */
  #checkAbsent(read: Done): void {
    for (const created of this.#of("create")) {
      if (created.answered > read.called) continue;
      const removed = this.#of("destroy").some(
        destroy => destroy.answered > created.called && destroy.called < read.answered,
      );
      assert.ok(removed, `the session ${created.life} was lost`);
    }
  }

  #checkPresent(read: Done<Action & { kind: "read" }>, life: string): void {
    const created = this.#of("create").find(create => create.life === life);
    assert.ok(created && created.called < read.answered, `nobody had created the session ${life}`);
    const ends = [...this.#of("destroy"), ...this.#of("create").filter(create => create !== created)];
    const ended = ends.some(end => end.called > created.answered && end.answered < read.called);
    assert.ok(!ended, `the session ${life} had been removed or replaced`);
    const saves = this.#of("save").filter(save => save.life === life && save.called < read.answered);
    const clients = new Set([...Object.keys(read.fields), ...saves.map(({ client }) => client)]);
    for (const client of clients) {
      // A client does one thing after the other, so its saves are in order.
      const own = saves.filter(save => save.client === client);
      const acknowledged = own.filter(save => save.answered < read.called).length;
      const values = [undefined, ...own.map(({ value }) => value)];
      const found = values.lastIndexOf(read.fields[client]);
      assert.ok(found >= 0, `nobody had written what ${client} has`);
      assert.ok(found >= acknowledged, `an acknowledged change by ${client} was lost`);
    }
  }

  #of<K extends Action["kind"]>(kind: K): Done<Action & { kind: K }>[] {
    return this.#done.filter((done): done is Done<Action & { kind: K }> => done.kind === kind);
  }
}
