// The pages of the sessions of users. Every value in them is escaped by `html`.

const { html } = require("./html.js");
const { layout, noticeOf, when } = require("./layout.js");
const { roles } = require("./users.js");

function devices(context, { devices, notice }) {
  return layout(
    context,
    "Your devices",
    html`${noticeOf(notice)}
<p>You are signed in on these devices. End the session of any that you do not use any more, or do not know.</p>
<ul class="devices" role="list">${devices.map(deviceEntry)}</ul>
${
  devices.length > 1 &&
  html`<form method="post" action="/devices/end-others"><button>End all other sessions</button></form>`
}
<p class="note">Sign in as ${context.userName} from a second browser or a private window to see another device here.</p>`,
  );
}

function deviceEntry({ handle, name, createdAt, activeAt, isCurrent, role }, index) {
  const detailsId = `device-${index}`;
  return html`<li class="card device">
<div>
<h2>${name}</h2>
${isCurrent && html`<p class="badge">This device</p>`}
</div>
<dl id="${detailsId}">
<div><dt>First seen</dt><dd>${when(createdAt.getTime())}</dd></div>
<div><dt>Last seen</dt><dd>${isCurrent ? when(Date.now()) : when(activeAt.getTime())}</dd></div>
<div><dt>Role</dt><dd>${role}</dd></div>
</dl>
${
  !isCurrent &&
  html`<form method="post" action="/devices/end"><input type="hidden" name="handle" value="${handle}">
<button class="quiet" aria-label="End the session: ${name}" aria-describedby="${detailsId}">End</button></form>`
}
</li>`;
}

function admin(context, { notice, problem, user = "", role }) {
  return layout(
    context,
    "Roles",
    html`${noticeOf(notice)}
<form class="card narrow" method="post" action="/admin">
<label for="user">Name of the user</label>
<input id="user" name="user" value="${user}" autocomplete="off" required maxlength="40"
${problem && html`aria-invalid="true" aria-describedby="problem" autofocus`}>
${problem && html`<p class="problem" id="problem">${problem}</p>`}
<label for="role">Role</label>
<select id="role" name="role">${roles.map(
      name => html`<option${name === role && html` selected`}>${name}</option>`,
    )}</select>
<button>Change the role</button>
<p class="note">The role changes in all live sessions of the user, and nobody is signed out by that.</p>
</form>
<p class="note">In this example whoever signs in by the name “admin” is an administrator, and each new session begins as
“member”. A real application keeps both in its database.</p>`,
  );
}

module.exports = { admin, devices };
