import { describeFailover } from "../helpers/suites/failover.js";

describeFailover({ rounds: 10, cutOffMs: 5000, downMs: 10_000 });
