import { describeFloods } from "../helpers/floods.js";

describeFloods({ refused: 100_000, hanging: 10_000, atOnce: 50_000 });
