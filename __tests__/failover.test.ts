import { describeFailover } from "./helpers/failover.js";

describeFailover({ rounds: 1, cutOffMs: 3000, downMs: 3000 });
