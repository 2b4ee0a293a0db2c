import { describeKills } from "../helpers/suites/kills.js";

describeKills({ kills: 1000, killsAmongFour: 200 });
