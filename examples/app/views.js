// The pages. Every value in them is escaped by `html`.

const { MAX_QUANTITY } = require("./cart.js");
const { html } = require("./html.js");
const { duration, layout, when } = require("./layout.js");

function signIn(context, { name = "", problem } = {}) {
  return layout(
    context,
    "Sign in",
    html`<form class="card narrow" method="post" action="/sign-in">
<label for="name">Your name</label>
<input id="name" name="name" value="${name}" autocomplete="nickname" required maxlength="40" autofocus
${problem && html`aria-invalid="true" aria-describedby="problem"`}>
${problem && html`<p class="problem" id="problem">${problem}</p>`}
<button>Sign in</button>
<p class="note">Any name will do: this is an example, and there is no password.</p>
</form>`,
  );
}

function shop(context, { session, role, timeouts, shelf, items, change }) {
  return layout(
    context,
    `Hello, ${session.name}`,
    html`<section class="card figures">
<p><strong>${session.views}</strong> ${session.views === 1 ? "view" : "views"} of this page since you signed in
${when(session.signedInAt)}.</p>
<p>Your role is <span class="role">${role}</span>.</p>
<p class="note">You stay signed in for ${duration(timeouts.idleMs)} after your last click${
      timeouts.absoluteMs && html`, and no longer than ${duration(timeouts.absoluteMs)} in all`
    }.</p>
</section>
<div class="columns">
<section class="card">
<h2>Shelf</h2>
<ul class="rows">${shelf.map(product => shelfRow(product, items, change))}</ul>
</section>
<section class="card" id="cart" tabindex="-1" aria-labelledby="cart-title">
<h2 id="cart-title">Cart</h2>
${change?.place === "cart" && done(`${shelf.find(({ id }) => id === change.product)?.name} is no longer in the cart.`)}
${items.length === 0 ? html`<p class="note">It is empty. Take something from the shelf.</p>` : cart(items, change)}
</section>
</div>`,
  );
}

/** The success message of a form, beside the control that sent the form. */
function done(text) {
  return html`<p class="done" id="done" role="status">${text}</p>`;
}

/** Attributes for the control that sent the form. It gets the focus, so that a screen reader also reads the message. */
const describedByDone = html` aria-describedby="done"`;

function shelfRow({ id, name, cents }, items, change) {
  const quantity = items.find(item => item.id === id)?.quantity ?? 0;
  const isChanged = change?.place === "shelf" && change.product === id;
  return html`<li><span class="name">${name}</span><span class="price">${price(cents)}</span>
<form method="post" action="/cart/add"><input type="hidden" name="product" value="${id}">
<button id="add-${id}" aria-label="Add to the cart: ${name}"${isChanged && describedByDone}>Add</button></form>
${isChanged && done(`In your cart: ${quantity}`)}</li>`;
}

function cart(items, change) {
  const total = items.reduce((sum, { cents, quantity }) => sum + cents * quantity, 0);
  return html`<ul class="rows">${items.map(item => cartRow(item, change))}</ul>
<p class="total"><span>Total</span><span class="price">${price(total)}</span></p>`;
}

function cartRow({ id, name, cents, quantity }, change) {
  const isChanged = change?.place === "line" && change.product === id;
  return html`<li><span class="name">${name}</span><span class="price">${price(cents * quantity)}</span>
<div class="controls">
<form method="post" action="/cart/update"><input type="hidden" name="product" value="${id}">
<input type="number" name="quantity" value="${quantity}" min="0" max="${MAX_QUANTITY}" required
aria-label="Quantity: ${name}"><button class="quiet" id="update-${id}" aria-label="Update the quantity: ${name}"
${isChanged && describedByDone}>Update</button></form>
<form method="post" action="/cart/remove"><input type="hidden" name="product" value="${id}">
<button class="quiet" aria-label="Remove from the cart: ${name}">Remove</button></form>
</div>${isChanged && done(`In your cart: ${quantity}`)}</li>`;
}

function sessions(context, { sessions }) {
  return layout(
    context,
    "Live sessions",
    html`<section class="card">
<div class="scroll" role="region" aria-label="Table of live sessions" tabindex="0"><table>
<thead><tr><th>Who</th><th>Signed in</th><th>Ends</th><th class="number views">Views</th>
<th class="number">Cart</th></tr></thead>
<tbody>${sessions.map(sessionRow)}</tbody>
</table></div>
</section>
<p class="note">Sign in from a second browser or a private window to see another session here.</p>`,
  );
}

function sessionRow({ own, name, signedInAt, expiresAt, views, cartCount }) {
  return html`<tr><td class="who">${name}${own && html` <span class="badge">you</span>`}</td>
<td>${when(signedInAt)}</td><td>${when(expiresAt)}</td>
<td class="number views">${views}</td><td class="number">${cartCount}</td></tr>`;
}

function error(context, { status, title, problem, code }) {
  return layout(
    context,
    title,
    html`<section class="card">
<p>${problem}</p>
<p class="note">Status ${status}${code && html`, <code>${code}</code>`}. <a href="/">Back to the shop</a></p>
</section>`,
  );
}

function price(cents) {
  return `€${(cents / 100).toFixed(2)}`;
}

module.exports = { error, sessions, shop, signIn };
