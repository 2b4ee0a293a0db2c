// Runs in a page, because tests pass this function to the browser.

/**
 * Returns everything that is hard to see on the page, as WCAG 2.2 measures it. The contrast with the background must be
 * at least 4.5 for text, and at least 3 for the borders of controls.
 */
module.exports = function lowContrasts() {
  const WHITE = [255, 255, 255, 1];

  function channels(color) {
    const [red, green, blue, alpha = 1] = color.match(/[\d.]+/g).map(Number);
    return [red, green, blue, alpha];
  }

  function over([red, green, blue, alpha], below) {
    const mix = (value, index) => value * alpha + below[index] * (1 - alpha);
    return [red, green, blue].map(mix).concat(1);
  }

  function backgroundOf(element) {
    if (element === null) return WHITE;
    const color = channels(getComputedStyle(element).backgroundColor);
    return color[3] === 1 ? color : over(color, backgroundOf(element.parentElement));
  }

  function luminance(color) {
    const [red, green, blue] = color.slice(0, 3).map(value => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }

  function contrast(color, background) {
    const [dark, light] = [luminance(over(color, background)), luminance(background)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  }

  const low = [];
  function check(what, color, background, least) {
    const ratio = contrast(channels(color), background);
    if (ratio < least) low.push(`${what}: ${ratio.toFixed(2)}`);
  }

  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.data.trim();
    const element = texts.currentNode.parentElement;
    if (text !== "" && element.checkVisibility()) {
      check(`text "${text}"`, getComputedStyle(element).color, backgroundOf(element), 4.5);
    }
  }
  for (const control of document.querySelectorAll("input:not([type=hidden]), select, button")) {
    const name = control.getAttribute("aria-label") || control.name || control.textContent;
    const style = getComputedStyle(control);
    check(`text in ${name}`, style.color, backgroundOf(control), 4.5);
    check(`border of ${name}`, style.borderTopColor, backgroundOf(control.parentElement), 3);
  }
  return low;
};
