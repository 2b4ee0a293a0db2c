import { describeKills } from "../helpers/kills.js";

describeKills({ kills: 1000, killsAmongFour: 200 });
