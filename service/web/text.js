// @ts-check
/** Text and elements. The server counts characters by code points; JavaScript strings count UTF-16 units. */

/** @typedef {{start: number, end: number}} Span */

/**
 * The characters of a text, so that `slice(start, end).join("")` cuts where the server means.
 * @param {string} text
 * @returns {string[]}
 */
export const codePoints = (text) => Array.from(text);

/**
 * A text cut into plain and marked pieces; joined, they are the text again.
 * @param {string} text
 * @param {Span[]} spans
 * @returns {{text: string, marked: boolean}[]}
 */
export function pieces(text, spans) {
  const points = codePoints(text);
  const cuts = [];
  let at = 0;
  for (const { start, end } of [...spans].sort((a, b) => a.start - b.start)) {
    if (end <= at) continue;
    const from = Math.max(start, at);
    cuts.push({ text: points.slice(at, from).join(""), marked: false });
    cuts.push({ text: points.slice(from, end).join(""), marked: true });
    at = end;
  }
  cuts.push({ text: points.slice(at).join(""), marked: false });
  return cuts.filter((piece) => piece.text !== "");
}

/**
 * A text as everything before its last word, and that word; words too long for a phone stay breakable.
 * @param {string} text
 * @returns {[string, string]}
 */
export function lastWord(text) {
  const cut = text.search(/\S+\s*$/u);
  return cut < 0 || text.length - cut > 16 ? [text, ""] : [text.slice(0, cut), text.slice(cut)];
}

/**
 * An address that is safe to link to, or null.
 * @param {string} address
 * @returns {URL | null}
 */
export function webAddress(address) {
  if (!URL.canParse(address)) return null;
  const url = new URL(address);
  return url.protocol === "https:" || url.protocol === "http:" ? url : null;
}

/**
 * The address of a quote inside a page, as a text fragment: browsers that know them scroll there.
 * @param {URL} page
 * @param {string} quote
 */
export function quoteAddress(page, quote) {
  const words = quote.trim().split(/\s+/u);
  /** @param {string[]} some */
  const encode = (some) => encodeURIComponent(some.join(" ")).replaceAll("-", "%2D");
  const target = words.length > 12 ? `${encode(words.slice(0, 5))},${encode(words.slice(-5))}` : encode(words);
  return `${page.href}${page.hash ? "" : "#"}:~:text=${target}`;
}

/**
 * "1 passage", "2,431 passages".
 * @param {number} count
 * @param {string} one
 */
export const counted = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;

/**
 * "1", "1 and 3", "1, 2 and 5".
 * @param {number[]} numbers
 */
export const listed = (numbers) => new Intl.ListFormat("en-GB", { type: "conjunction" }).format(numbers.map(String));

/**
 * An element. Strings among the children become text nodes, never markup.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string>} [attributes]
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/**
 * The element of the page with this id.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return /** @type {T} */ (found);
}

/**
 * Make `nodes` the children of `parent`, leaving those that are in place untouched: they keep
 * their focus and are not announced a second time.
 * @param {Element} parent
 * @param {Node[]} nodes
 */
export function setChildren(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.childNodes]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, i) => {
    if (parent.childNodes[i] !== node) parent.insertBefore(node, parent.childNodes[i] ?? null);
  });
}

/**
 * A link to another site, or the same words unlinked where the address is not one of the web.
 * @param {string} address
 * @param {string} words
 * @returns {HTMLElement}
 */
export function outsideLink(address, words) {
  const url = webAddress(address);
  if (!url) return element("span", {}, words);
  return element("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, words);
}

/**
 * Copy a text. Pages that are not served over HTTPS, this machine's own aside, have no clipboard to write to.
 * @param {string} text
 * @returns {Promise<boolean>} whether the browser allowed it
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(text);
  }
}

/** The way before there was a clipboard to write to. @param {string} text */
function copySelected(text) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const carrier = element("textarea", { class: "unseen", readonly: "", "aria-hidden": "true", tabindex: "-1" });
  carrier.value = text;
  document.body.append(carrier);
  carrier.select();
  const copied = document.execCommand("copy");
  carrier.remove();
  focused?.focus({ preventScroll: true });
  return copied;
}
