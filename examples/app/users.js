// The user of a session, and what that user may do.

const DEFAULT_ROLE = "member";
const roles = ["guest", DEFAULT_ROLE, "manager"];

/**
 * The user of a session, for the stores' option `user`. Users of this example have only a name; a real application uses
 * an id that never changes.
 */
function userOf(session) {
  return isOurs(session) ? session.name : undefined;
}

/**
 * Whether this application made a session. Another application with the same prefix in the backend may have made it.
 */
function isOurs({ name, signedInAt, views, cookie }) {
  const times = [signedInAt, Date.parse(cookie?.expires)];
  return typeof name === "string" && Number.isInteger(views) && times.every(isTime);
}

/** Whether a value is a number of epoch milliseconds within the range of a Date. */
function isTime(value) {
  return typeof value === "number" && !Number.isNaN(new Date(value).getTime());
}

/**
 * Whether a user is an administrator. In this example, every user with the name "admin" is one. A real application
 * looks up its administrators in its database, and asks for a password first.
 */
function isAdministrator(name) {
  return name === "admin";
}

module.exports = { DEFAULT_ROLE, isAdministrator, isOurs, roles, userOf };
