// A template tag that escapes every value except HTML, so that no view can forget to escape.

class Html {
  constructor(text) {
    this.text = text;
  }

  /** The text that Express sends. */
  toString() {
    return this.text;
  }
}

const entities = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function render(value) {
  if (value instanceof Html) return value.text;
  if (Array.isArray(value)) return value.map(render).join("");
  // Allows `condition && html`...``.
  if (value === undefined || value === null || value === false) return "";
  return String(value).replace(/[&<>"']/g, character => entities[character]);
}

/** Makes {@link Html} from a template. Escapes all values except `Html` and arrays of it. */
function html(strings, ...values) {
  return new Html(String.raw({ raw: strings }, ...values.map(render)));
}

module.exports = { html };
