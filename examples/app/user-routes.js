// A user's devices, and the roles that an administrator gives. The store does all of it, by its option `user`.

const express = require("express");
const { deviceName } = require("./device.js");
const { contextOf, field, redirectWithNotice, takeNotice, visitorError } = require("./requests.js");
const { DEFAULT_ROLE, isAdministrator, roles, userOf } = require("./users.js");
const views = require("./user-views.js");

/** The pages and forms for signed-in users. */
function userRoutes(store) {
  const router = express.Router();

  router.get("/devices", async (req, res) => {
    const notice = await takeNotice(req);
    const devices = [];
    for await (const found of store.findByUser(userOf(req.session), { current: req.sessionID })) {
      const { handle, session, createdAt, activeAt, isCurrent } = found;
      const { userAgent, role = DEFAULT_ROLE } = session;
      devices.push({ handle, name: deviceName(userAgent), createdAt, activeAt, isCurrent, role });
    }
    devices.sort((a, b) => b.isCurrent - a.isCurrent);
    res.send(views.devices(contextOf(req), { devices, notice }));
  });

  // A handle identifies a session only among those of its user. The handle of another user's session ends nothing.
  router.post("/devices/end", async (req, res) => {
    const handle = field(req, "handle");
    if (handle === "") throw visitorError(400, "The form does not say which session to end.");
    const isEnded = await found(store.destroyByHandle(userOf(req.session), handle));
    const notice = isEnded ? "The session has been ended." : "That session had ended already.";
    await redirectWithNotice(req, res, "/devices", notice);
  });

  // A request of the user that is still in flight cannot recreate such a session, because the store rejects its save.
  router.post("/devices/end-others", async (req, res) => {
    const ended = await found(store.destroyByUser(userOf(req.session), { except: req.sessionID }));
    // `false` if another device has just ended this session.
    await redirectWithNotice(req, res, "/devices", `${sessionsText(Number(ended))} been ended.`);
  });

  router.use("/admin", (req, _res, next) => {
    if (isAdministrator(userOf(req.session))) return next();
    next(visitorError(403, "This page is for administrators."));
  });

  router.get("/admin", async (req, res) => {
    res.send(views.admin(contextOf(req), { notice: await takeNotice(req) }));
  });

  router.post("/admin", async (req, res) => {
    const [user, role] = [field(req, "user"), field(req, "role")];
    if (!roles.includes(role)) throw visitorError(400, "There is no such role.");
    if (user === "") {
      const problem = "Say whose role is to change.";
      return res.status(422).send(views.admin(contextOf(req), { problem, user, role }));
    }
    // No session ends and nobody has to sign in again, because each session has the role from its next request on.
    const changed = await store.updateByUser(user, session => {
      session.role = role;
    });
    const notice =
      changed === 0
        ? `${user} is not signed in, so no session was changed.`
        : `${user} is now ${role}: ${sessionsText(changed)} been changed.`;
    await redirectWithNotice(req, res, "/admin", notice);
  });

  return router;
}

/**
 * Returns the result of `call`, or `true` if it has none. Returns `false` if the store finds no such session of the
 * user.
 */
async function found(call) {
  try {
    return (await call) ?? true;
  } catch (error) {
    if (error.code === "ERR_SESSION_NOT_FOUND") return false;
    throw error;
  }
}

function sessionsText(count) {
  if (count === 0) return "No session has";
  return count === 1 ? "1 session has" : `${count} sessions have`;
}

module.exports = { userRoutes };
