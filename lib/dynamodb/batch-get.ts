import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import { Operation } from "../core/operation.js";
import type { Awaitable, Found } from "../core/record.js";
import { type Batchable, Batcher } from "../support/batcher.js";
import { backoff } from "./backoff.js";
import { errorName } from "./errors.js";
import { type DynamoDBItems, unmarshalled } from "./items.js";
import { lib } from "./sdk.js";
import type { Table } from "./table.js";

/** DynamoDB's limit for the keys of a BatchGetItem. */
const MAX_KEYS = 100;
const MAX_IN_FLIGHT = 8;
/** A read that takes longer than this hangs, or DynamoDB is so slow that waiting for it gathers nothing. */
const MAX_HOLD_MS = 250;

interface Read extends Batchable {
  readonly operation: Operation;
}

type MaybeFound = Awaitable<Found | undefined>;

/** Reads items. Reads that wait at the same moment share a request. */
export class ItemReader {
  readonly #table: Table;
  readonly #items: DynamoDBItems;
  readonly #isConsistent: boolean;
  readonly #batcher: Batcher<Read, MaybeFound>;

  constructor(table: Table, items: DynamoDBItems, isConsistent: boolean) {
    this.#table = table;
    this.#items = items;
    this.#isConsistent = isConsistent;
    this.#batcher = new Batcher({
      send: reads => this.#send(reads),
      limits: () => ({ items: MAX_KEYS, bytes: Number.POSITIVE_INFINITY }),
      maxInFlight: MAX_IN_FLIGHT,
      maxHoldMs: MAX_HOLD_MS,
      allowSameKey: true,
      retryIndividually: error => ["ValidationException", "AccessDeniedException"].includes(errorName(error)),
    });
  }

  read(key: string, operation: Operation): Promise<Found | undefined> {
    return this.#batcher.add({ key, size: 0, operation }) as Promise<Found | undefined>;
  }

  /** Reads what is stored now, whatever the option `consistentRead` says, in a request of its own. */
  readLatest(key: string, operation: Operation): Promise<Found | undefined> {
    return this.#get(key, true, operation);
  }

  /** What is stored, which a rejection may say: not if nothing is, nor by all engines (dynalite, DynamoDB Local). */
  currentOf(key: string, item: Record<string, AttributeValue> | undefined, operation: Operation): MaybeFound {
    return item === undefined ? this.readLatest(key, operation) : this.#items.foundOf(unmarshalled(item));
  }

  async #get(key: string, isConsistent: boolean, operation: Operation): Promise<Found | undefined> {
    const { Item } = await this.#table.get(key, isConsistent, operation);
    return this.#items.foundOf(Item);
  }

  async #send(reads: Read[]): Promise<MaybeFound[]> {
    const [first, ...more] = reads as [Read, ...Read[]];
    if (more.length === 0) return [await this.#get(first.key, this.#isConsistent, first.operation)];
    const deadline = Operation.requestDeadline(reads.map(({ operation }) => operation));
    const signal = AbortSignal.timeout(Math.max(0, deadline - Date.now()));
    const found = await this.#batchGet([...new Set(reads.map(({ key }) => key))], signal, 0);
    return reads.map(({ key }) => found.get(key));
  }

  /**
   * What is stored under the keys. Keys that DynamoDB leaves unprocessed (throttling, a response that grew too large)
   * are requested again. Their results are promises, so that one throttled key does not delay the others.
   */
  async #batchGet(
    keys: string[],
    abortSignal: AbortSignal,
    repetition: number,
  ): Promise<Map<string, MaybeFound>> {
    const { name, attributes, client, rethrow } = this.#table;
    const Keys = keys.map(key => ({ [attributes.id]: key }));
    const request = { Keys, ConsistentRead: this.#isConsistent };
    const get = new lib.BatchGetCommand({ RequestItems: { [name]: request } });
    const { Responses, UnprocessedKeys } = await client.send(get, { abortSignal }).catch(rethrow);
    const found = new Map<string, MaybeFound>();
    // A table that is requested by its ARN may come back under its name.
    for (const item of Object.values(Responses ?? {}).flat()) {
      found.set(this.#items.keyOf(item), this.#items.foundOf(item));
    }
    const left = Object.values(UnprocessedKeys ?? {}).flatMap(({ Keys = [] }) => Keys);
    if (left.length === 0) return found;
    const keysLeft = left.map(key => this.#items.keyOf(key));
    const later = backoff(repetition).then(() => this.#batchGet(keysLeft, abortSignal, repetition + 1));
    for (const key of keysLeft) {
      const laterFound = later.then(result => result.get(key));
      found.set(key, laterFound);
    }
    return found;
  }
}
