// Opens a store that has sessions, and gets one. The client's code is loaded before the measurement.
import { childArguments } from "../lib/child.js";
import { measureHold } from "../lib/measure.js";
import { get } from "../lib/operations.js";
import { assertSession, newSid } from "../lib/sessions.js";

const { kind, name, at, sid, number } = childArguments();
const { contenders } = await import(`../stores/${kind}.js`);
const other = await contenders[name]({ ...at, kept: undefined });
await get(other, newSid());
await other.close();

let contender;
const { result, ms, holdMs } = await measureHold(async () => {
  contender = await contenders[name](at);
  return await get(contender, sid);
});
assertSession(result, sid, number);
process.send({ ms, holdMs });
process.disconnect();
await contender.close();
process.exit();
