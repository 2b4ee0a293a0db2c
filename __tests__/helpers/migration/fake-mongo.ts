import { BSON } from "mongodb";

type Document = Record<string, unknown>;

/**
 * A stand-in for a MongoClient, and NOT MongoDB. It keeps everything that connect-mongo sends as BSON in a Map, and
 * supports only the calls and the queries of connect-mongo 6. How a real server handles them is not tested.
 */
export class FakeMongoClient {
  readonly #collections = new Map<string, FakeCollection>();

  db(name = "test") {
    return {
      collection: (collection: string): FakeCollection => {
        const key = `${name}.${collection}`;
        const found = this.#collections.get(key) ?? new FakeCollection();
        this.#collections.set(key, found);
        return found;
      },
    };
  }

  async close(): Promise<void> {}
}

class FakeCollection {
  readonly #documents = new Map<unknown, Uint8Array>();

  async createIndex(): Promise<void> {}

  async insertOne(document: Document): Promise<void> {
    this.#documents.set(document._id, BSON.serialize(document));
  }

  async updateOne({ _id }: Document, { $set }: { $set: Document }, { upsert = false } = {}) {
    const found = this.#get(_id);
    if (found === undefined && !upsert) return { matchedCount: 0, upsertedCount: 0 };
    await this.insertOne({ ...found, ...$set, _id });
    return { matchedCount: found === undefined ? 0 : 1, upsertedCount: found === undefined ? 1 : 0 };
  }

  async findOne({ _id }: Document): Promise<Document | null> {
    const found = this.#get(_id);
    return found !== undefined && isLive(found) ? found : null;
  }

  /** Returns all documents, because MongoDB also keeps ended ones for up to a minute. */
  async *find(): AsyncGenerator<Document> {
    for (const id of [...this.#documents.keys()]) {
      const found = this.#get(id);
      if (found !== undefined) yield found;
    }
  }

  async deleteOne({ _id }: Document): Promise<void> {
    this.#documents.delete(_id);
  }

  #get(id: unknown): Document | undefined {
    const stored = this.#documents.get(id);
    return stored && BSON.deserialize(stored);
  }
}

function isLive({ expires }: Document): boolean {
  return !(expires instanceof Date) || expires.getTime() > Date.now();
}
