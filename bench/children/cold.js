import { childArguments } from "../lib/child.js";
import { get } from "../lib/operations.js";
import { assertSession, newSid } from "../lib/sessions.js";

const { kind, name, at, sid } = childArguments();
// Requires express-session first, as every application does. Loads a client only when its contender is opened.
const { contenders } = await import(`../stores/${kind}.js`);

const began = performance.now();
const contender = await contenders[name](at);
const found = await get(contender, sid ?? newSid());
const ms = performance.now() - began;

if (sid) assertSession(found, sid, 0);
else if (found) throw new Error("found a session that was never written");
process.send({ ms });
process.disconnect();
await contender.close();
process.exit();
