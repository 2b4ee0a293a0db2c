// A template tag that escapes whatever it is not told to be HTML, so that no view can forget to.

class Html {
  constructor(text) {
    this.text = text;
  }

  /** What Express sends. */
  toString() {
    return this.text;
  }
}

const entities = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function render(value) {
  if (value instanceof Html) return value.text;
  if (Array.isArray(value)) return value.map(render).join("");
  // So that `condition && html`...`` may be written.
  if (value === undefined || value === null || value === false) return "";
  return String(value).replace(/[&<>"']/g, character => entities[character]);
}

/** Makes {@link Html} of a template. Values are escaped, other than `Html` and arrays of it. */
function html(strings, ...values) {
  return new Html(String.raw({ raw: strings }, ...values.map(render)));
}

module.exports = { html };
