// What all charts share.

export const escaped = content => content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

export function text(x, y, content, attributes = "") {
  return `<text x="${x.toFixed(1)}" y="${y}" ${attributes}>${escaped(content)}</text>`;
}

export function svg(width, height, title, parts) {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
      'font-family="system-ui, sans-serif" font-size="12" fill="#1f2328" role="img">',
    `<title>${escaped(title)}</title>`,
    // A background, so that the chart is also readable on a dark page.
    `<rect width="${width}" height="${height}" rx="8" fill="#ffffff"/>`,
    ...parts,
    "</svg>\n",
  ].join("\n");
}
