import { describeFloods } from "../helpers/suites/floods.js";

describeFloods({ refused: 100_000, hanging: 10_000, atOnce: 50_000 });
