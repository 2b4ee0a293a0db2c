import { brokenStores, faultThat } from "../helpers/model/broken.js";
import { findSchedule } from "../helpers/model/lifetimes.js";
import { modelBackends, runSchedules } from "../helpers/model/runs.js";

describe("requests from hosts whose clocks differ end no session early and keep none too long", () => {
  it.each(modelBackends.filter(({ schedules }) => schedules > 0))(
    "$backend.name, $schedules schedules",
    modelBackend => runSchedules(modelBackend, modelBackend.schedules),
    120_000,
  );
});

describe("schedules of requests find a store that", () => {
  it.each([
    "ignores touches",
    "ends a session without the time for skipped touches",
    "writes touches that touchAfter skips",
    "undoes touches by a slow response",
    "counts a slow response as a use when it ends",
    "takes a slow response for the wish to end the session",
    "removes and shortens what a host ahead keeps alive",
    "keeps the longer of two lifetimes",
    "keeps the later of two expiries",
    "puts back an old lifetime by a stale touch",
    "undoes a change of the lifetime by a late touch",
    "believes its own clock although another host's is ahead",
  ])("%s", async does => {
    const stores = brokenStores(faultThat(does));
    await expect(findSchedule(stores, 1, 500)).resolves.toMatchObject({ code: "ERR_ASSERTION" });
  });
});
