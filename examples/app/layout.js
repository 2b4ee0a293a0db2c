// The frame of every page, and the format of times.

const { html } = require("./html.js");

const MINUTE_MS = 60_000;

function layout(context, title, content) {
  const { userName, cartCount, storeName } = context;
  const isSignedIn = userName !== undefined;
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
${isSignedIn && html`<a class="cart-link" href="/#cart">Cart <span class="count">${cartCount}</span></a>`}
</header>
${isSignedIn && navigation(context)}
<main>
<h1>${title}</h1>
${content}
</main>
<footer>Sessions are kept in <code>${storeName}</code>.</footer>
</body>
</html>
`.toString();
}

function navigation({ path, isAdministrator, userName }) {
  const links = [
    ["/", "Shop"],
    ["/devices", "Your devices"],
    ["/sessions", "Sessions"],
    ["/try", "Try to lose something"],
    isAdministrator && ["/admin", "Roles"],
  ].filter(Boolean);
  return html`<nav aria-label="Pages">${links.map(
    ([to, text]) => html`<a href="${to}"${to === path && html` aria-current="page"`}>${text}</a>`,
  )}
<form class="user" method="post" action="/sign-out"><span>${userName}</span><button class="quiet">Sign out</button></form>
</nav>`;
}

/** The message that says what was done, which screen readers announce. */
function noticeOf(notice) {
  return (
    notice !== undefined && html`<p class="card notice" id="notice" role="status" tabindex="-1">${notice}</p>`
  );
}

/** A relative time, because the server does not know the visitor's time zone. */
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

module.exports = { duration, layout, noticeOf, when };
