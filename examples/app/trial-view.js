// The page "Try to lose something". public/trial.js sends its requests and fills the table.

const { html } = require("./html.js");
const { layout } = require("./layout.js");
const { CHANGES, SLOW_WORK_MS, WORK_MS } = require("./trial.js");

function trial(context) {
  return layout(
    context,
    "Try to lose something",
    html`<p>Your browser sends the same requests to two session stores: the one of this shop, and the MemoryStore that
comes with express-session.</p>
<ol class="steps">
<li><strong>${CHANGES} changes in parallel.</strong> Each request loads the session, works for ${WORK_MS} ms, adds one
entry of its own and saves. A store that writes whole sessions also writes back what a request loaded, and so deletes
the entries that others saved in the meantime.</li>
<li><strong>A sign-out during a slow request.</strong> A request loads the session and works for
${SLOW_WORK_MS / 1000} s. While it works, another request signs out. When the slow one saves, the session must not
come back.</li>
</ol>
<section class="card" id="trial">
<div class="run"><button id="run" hidden>Try it</button>
<p id="progress" role="status">A script sends the requests, so this needs JavaScript.</p></div>
<table>
<thead><tr><th scope="col">Store</th><th scope="col">Changes kept</th><th scope="col">Signed-out session</th></tr></thead>
<tbody>${storeRow("/try/store", context.storeName, "this shop")}
${storeRow("/try/memory", "MemoryStore", "express-session")}</tbody>
</table>
</section>
<p class="note">Nothing is staged: what MemoryStore loses depends on how many requests your browser sends at a time, which
is usually six. The trial has sessions and cookies of its own, so your cart and your sign-in are safe.</p>
<script src="/trial.js" defer></script>`,
  );
}

function storeRow(path, name, owner) {
  return html`<tr data-path="${path}"><th scope="row">${name} <span class="note">of ${owner}</span></th>
<td data-result="changes"><span class="result">–</span><span class="marks" aria-hidden="true">${Array.from(
    { length: CHANGES },
    () => html`<i></i>`,
  )}</span></td>
<td data-result="sign-out"><span class="result">–</span></td></tr>`;
}

module.exports = { trial };
