import { UsageOrder } from "../../lib/support/usage-order.js";
import { seeded } from "../helpers/random.js";

/** The same, as an array of pairs. */
class Model {
  pairs: [string, number][] = [];
  delete(key: string) {
    this.pairs = this.pairs.filter(([each]) => each !== key);
  }
  set(key: string, size: number) {
    this.delete(key);
    this.pairs.push([key, size]);
  }
  use(key: string) {
    const pair = this.pairs.find(([each]) => each === key);
    if (pair !== undefined) this.set(...pair);
  }
}

describe("the order of use", () => {
  it.each([1, 2, 3, 4, 5])("is that of a plain list under random operations (seed %i)", seed => {
    const random = seeded(seed);
    const [order, model] = [new UsageOrder(), new Model()];
    for (let step = 0; step < 3000; step++) {
      const key = `k${Math.floor(random() * 20)}`;
      const size = Math.ceil(random() * 100);
      const operation = (["set", "use", "delete"] as const)[Math.floor(random() * 3)] as "set";
      order[operation](key, size);
      model[operation](key, size);
      expect(order.oldest).toBe(model.pairs[0]?.[0]);
      expect(order.size).toBe(model.pairs.reduce((sum, [, each]) => sum + each, 0));
    }
  });
});
