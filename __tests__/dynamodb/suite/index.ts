import { testClients } from "./clients.js";
import { testConformance } from "./conformance.js";
import { Context, type Engine } from "./context.js";
import { testCosts } from "./costs.js";
import { testCreateTable } from "./create-table.js";
import { testItems } from "./items.js";
import { testListings } from "./listings.js";
import { testReads } from "./reads.js";
import { testSizes } from "./sizes.js";
import { testWrites } from "./writes.js";

const topics = [
  testConformance,
  testCosts,
  testSizes,
  testItems,
  testReads,
  testWrites,
  testListings,
  testClients,
  testCreateTable,
];

/** Runs the tests of DynamoDBStore on one engine. */
export function dynamodbTests(engine: Engine): void {
  describe(`DynamoDBStore on ${engine.name}`, () => {
    const context = new Context(engine);
    for (const testTopic of topics) testTopic(context);
  });
}
