import { describeFailover } from "../helpers/suites/failover.js";

describeFailover({ rounds: 1, cutOffMs: 3000, downMs: 3000 });
