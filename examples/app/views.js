// The pages. Every value in them is escaped by `html`.

const { MAX_QUANTITY } = require("./cart.js");
const { html } = require("./html.js");

const MINUTE_MS = 60_000;

function layout({ userName, storeName }, title, content) {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · Corner Shop</title>
<link rel="icon" href="/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/style.css">
</head>
<body>
<header>
<a class="brand" href="/"><img src="/icon.svg" alt="" width="28" height="28">Corner Shop</a>
${
  userName !== undefined &&
  html`<nav><a href="/">Shop</a><a href="/sessions">Sessions</a></nav>
<form class="user" method="post" action="/sign-out"><span>${userName}</span><button class="quiet">Sign out</button></form>`
}
</header>
<main>
<h1>${title}</h1>
${content}
</main>
<footer>Sessions are kept in <code>${storeName}</code>.</footer>
</body>
</html>
`.toString();
}

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

function shop(context, { session, timeouts, shelf, items }) {
  return layout(
    context,
    `Hello, ${session.name}`,
    html`<section class="card figures">
<p><strong>${session.views}</strong> ${session.views === 1 ? "view" : "views"} of this page since you signed in
${when(session.signedInAt)}.</p>
<p class="note">You stay signed in for ${duration(timeouts.idleMs)} after your last click${
      timeouts.absoluteMs && html`, and no longer than ${duration(timeouts.absoluteMs)} in all`
    }.</p>
</section>
<div class="columns">
<section class="card">
<h2>Shelf</h2>
<ul class="rows">${shelf.map(product => shelfRow(product))}</ul>
</section>
<section class="card" id="cart">
<h2>Cart</h2>
${items.length === 0 ? html`<p class="note">It is empty. Take something from the shelf.</p>` : cart(items)}
</section>
</div>`,
  );
}

function shelfRow({ id, name, cents }) {
  return html`<li><span class="name">${name}</span><span class="price">${price(cents)}</span>
<form method="post" action="/cart/add"><input type="hidden" name="product" value="${id}">
<button aria-label="Add to the cart: ${name}">Add</button></form></li>`;
}

function cart(items) {
  const total = items.reduce((sum, { cents, quantity }) => sum + cents * quantity, 0);
  return html`<ul class="rows">${items.map(cartRow)}</ul>
<p class="total"><span>Total</span><span class="price">${price(total)}</span></p>`;
}

function cartRow({ id, name, cents, quantity }) {
  return html`<li><span class="name">${name}</span><span class="price">${price(cents * quantity)}</span>
<div class="controls">
<form method="post" action="/cart/update"><input type="hidden" name="product" value="${id}">
<input type="number" name="quantity" value="${quantity}" min="0" max="${MAX_QUANTITY}" required
aria-label="Quantity: ${name}"><button class="quiet" aria-label="Update the quantity: ${name}">Update</button></form>
<form method="post" action="/cart/remove"><input type="hidden" name="product" value="${id}">
<button class="quiet" aria-label="Remove from the cart: ${name}">Remove</button></form>
</div></li>`;
}

function sessions(context, { sessions }) {
  const elsewhere = sessions.filter(({ own, name }) => !own && name === context.userName).length;
  return layout(
    context,
    "Live sessions",
    html`<section class="card">
<div class="scroll"><table>
<thead><tr><th>Who</th><th>Signed in</th><th>Ends</th><th class="number views">Views</th>
<th class="number">Cart</th></tr></thead>
<tbody>${sessions.map(sessionRow)}</tbody>
</table></div>
</section>
${
  elsewhere > 0 &&
  html`<form class="card" method="post" action="/sign-out-elsewhere">
<p>${context.userName} is signed in elsewhere too: ${elsewhere} other ${elsewhere === 1 ? "session" : "sessions"}.</p>
<button>Sign out everywhere else</button>
</form>`
}
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

/** Relative, since the server does not know the visitor's time zone. */
function when(time) {
  const distance = time - Date.now();
  const text =
    Math.abs(distance) < MINUTE_MS / 2
      ? "just now"
      : distance < 0
        ? `${duration(-distance)} ago`
        : `in ${duration(distance)}`;
  return html`<time datetime="${new Date(time).toISOString()}">${text}</time>`;
}

function duration(ms) {
  const minutes = Math.max(1, Math.round(ms / MINUTE_MS));
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} hours`;
}

function price(cents) {
  return `€${(cents / 100).toFixed(2)}`;
}

module.exports = { error, sessions, shop, signIn };
