// Who is signed in to a session, and what they may do.

const DEFAULT_ROLE = "member";
const roles = ["guest", DEFAULT_ROLE, "manager"];

/**
 * The user of a session, for the stores' option `user`. Users of this example have nothing but a name; a real
 * application uses an id that never changes.
 */
function userOf(session) {
  return isOurs(session) ? session.name : undefined;
}

/** Whether this application made a session. Another that has the same prefix in the backend may have made it. */
function isOurs({ name, signedInAt, views, cookie }) {
  const times = [signedInAt, Date.parse(cookie?.expires)];
  return typeof name === "string" && Number.isInteger(views) && times.every(isTime);
}

/** Whether a value is epoch milliseconds that a Date can have. */
function isTime(value) {
  return typeof value === "number" && !Number.isNaN(new Date(value).getTime());
}

/**
 * Whether a user is an administrator: in this example whoever calls themselves "admin". A real application looks up
 * its administrators in its database, and asks for a password before.
 */
function isAdministrator(name) {
  return name === "admin";
}

module.exports = { DEFAULT_ROLE, isAdministrator, isOurs, roles, userOf };
