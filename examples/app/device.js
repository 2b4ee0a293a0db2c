// Recognizes browser and system in a User-Agent by a few substrings, so that users can recognize their own devices. A
// browser can send any text, so nothing else may depend on it.

// The first match counts, because Edge and Opera also contain "Chrome", and all three contain "Safari".
const browsers = [
  ["Firefox/", "Firefox"],
  ["FxiOS/", "Firefox"],
  ["Edg/", "Edge"],
  ["EdgA/", "Edge"],
  ["EdgiOS/", "Edge"],
  ["OPR/", "Opera"],
  ["SamsungBrowser/", "Samsung Internet"],
  ["Chrome/", "Chrome"],
  ["CriOS/", "Chrome"],
  ["Safari/", "Safari"],
];

// Android also contains "Linux", and an iPhone is "like Mac OS X".
const systems = [
  ["Windows", "Windows"],
  ["Android", "Android"],
  ["iPhone", "iPhone"],
  ["iPad", "iPad"],
  ["Mac OS X", "macOS"],
  ["CrOS", "ChromeOS"],
  ["Linux", "Linux"],
];

/** Returns browser and system, such as "Firefox on Windows". */
function deviceName(userAgent = "") {
  const browser = nameIn(browsers, userAgent) ?? "Unknown browser";
  const system = nameIn(systems, userAgent);
  return system === undefined ? browser : `${browser} on ${system}`;
}

function nameIn(names, userAgent) {
  return names.find(([part]) => userAgent.includes(part))?.[1];
}

module.exports = { deviceName };
