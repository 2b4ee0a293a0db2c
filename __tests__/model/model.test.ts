import fc from "fast-check";
import { brokenStores, expectFinding, faultThat } from "../helpers/model/broken.js";
import { modelBackends, modelProperty, runModel } from "../helpers/model/runs.js";

describe("a store does what the model of the contract does", () => {
  it.each(modelBackends)(
    "$backend.name, $runs runs",
    modelBackend => runModel(modelBackend, modelBackend.runs),
    120_000,
  );
});

describe("the model finds a store that", () => {
  it.each([
    "takes a session that was created again for the one that was loaded",
    "brings back a session that ended long ago",
    "leaves no tombstone",
    "merges the cookie as one value",
    "says nothing of conflicts in the cookie",
    "knows no copy of a Session",
    "takes a touch for a change",
    "keeps the longer of two lifetimes",
    "keeps the later of two expiries",
    "puts back an old lifetime by a stale touch",
    "asks the ttl function for the session as the request holds it",
    "counts a slow response as a use when it ends",
    "takes a slow response for the wish to end the session",
    "believes its own clock although another host's is ahead",
    "ends a session without the time for skipped touches",
    "forgets when a session was created",
  ])("%s", does => expectFinding(does, stores => modelProperty(stores, true)));

  it("differs, and says so with a short list of commands that can be run again", async () => {
    const stores = brokenStores(faultThat("ignores touches"));
    const { counterexample, counterexamplePath, seed } = await fc.check(modelProperty(stores, true), {
      numRuns: 2000,
      seed: 1,
    });
    const script = String(counterexample?.[1]);
    expect(script).toMatch(/touch\(/);
    const [commands = "", replayPath = ""] = script.split(/ \/\*replayPath="(.*)"\*\//);
    // Each command starts with one of these.
    expect(commands.split(/,(?=r\d|a|save|touch|begin)/).length).toBeLessThanOrEqual(6);
    const again = await fc.check(modelProperty(stores, true, {}, replayPath), {
      seed,
      path: counterexamplePath as string,
      endOnFailure: true,
    });
    expect(again.numRuns).toBe(1);
    expect(String(again.counterexample?.[1])).toBe(script);
  });
});
