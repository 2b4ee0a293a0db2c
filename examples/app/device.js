// What a User-Agent says of a device, by a handful of substrings: enough to recognise one's own devices. A browser can
// send anything, so nothing else may depend on it.

// The first match counts: Edge and Opera also call themselves Chrome, and all three call themselves Safari.
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

// Android also calls itself Linux, and an iPhone is "like Mac OS X".
const systems = [
  ["Windows", "Windows"],
  ["Android", "Android"],
  ["iPhone", "iPhone"],
  ["iPad", "iPad"],
  ["Mac OS X", "macOS"],
  ["CrOS", "ChromeOS"],
  ["Linux", "Linux"],
];

/** Browser and system, such as "Firefox on Windows". */
function deviceName(userAgent = "") {
  const browser = nameIn(browsers, userAgent) ?? "Unknown browser";
  const system = nameIn(systems, userAgent);
  return system === undefined ? browser : `${browser} on ${system}`;
}

function nameIn(names, userAgent) {
  return names.find(([part]) => userAgent.includes(part))?.[1];
}

module.exports = { deviceName };
