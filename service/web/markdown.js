// @ts-check
/** An answer as Markdown with footnotes: character for character what `rag_rt/markdown.py` writes. */

import { codePoints } from "./text.js";

/** @import { Answer, Evidence, Passage, Sentence } from "./stream.js" */

const NO_SUPPORT = "*(no support found)*";
const IN_PART = "*(supported in part)*";
const CUT = "*(cut at its greatest length)*";

// White space, controls and digits are named as Python counts them.
const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/gu;
const MARKUP = /[\\`*_[\]{}<>#&~|$^=@]|:(?=\S|\ufeff)|^[-+:]|!$|(?<!\p{Nd})\.(?=\S|\ufeff)|\.(?=[^\s\p{Nd}]|\ufeff)/gu;
const LIST_NUMBER = /^([0-9]{1,9})([.)])/u;
const WEB = /^https?:\/\/[^/]/iu;
const NOT_IN_ADDRESS = /[^\w.~:/?#@!$'+,;=%&-]/gu;

/**
 * A text as one line, control characters as pictures (`rag_rt/inert.py`).
 * @param {string} text
 */
const inert = (text) =>
  text
    .replace(SPACE, " ")
    .replace(/^ | $/gu, "")
    .replace(/[\0-\x1f]/gu, (control) => String.fromCodePoint(0x2400 + (control.codePointAt(0) ?? 0)))
    .replaceAll("\x7f", "\u2421")
    .replace(/[\x80-\x9f\u202a-\u202e\u2066-\u2069]/gu, "\ufffd");

/** @param {string} text */
export const escaped = (text) => inert(text).replace(MARKUP, "\\$&").replace(LIST_NUMBER, "$1\\$2");

/** @param {string} character */
const percent = (character) =>
  [...new TextEncoder().encode(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("");

/** @param {Passage} passage */
function link({ title, url }) {
  if (!WEB.test(url)) return escaped(title);
  return `[${escaped(title)}](${url.replace(NOT_IN_ADDRESS, percent).replaceAll("&", "&amp;")})`;
}

/** @param {Evidence} evidence */
const key = (evidence) => JSON.stringify([evidence.passage_id, evidence.start, evidence.end]);

/**
 * What stands behind a sentence; adds its quotes to those cited.
 * @param {Sentence} sentence
 * @param {Map<string, Evidence>} quotes
 */
function marks(sentence, quotes) {
  if (sentence.support === "unsupported") return ` ${NO_SUPPORT}`;
  const cited = new Map(sentence.evidence.map((evidence) => [key(evidence), evidence]));
  for (const [name, evidence] of cited) if (!quotes.has(name)) quotes.set(name, evidence);
  const order = [...quotes.keys()];
  const references = [...cited.keys()].map((name) => `[^${order.indexOf(name) + 1}]`).join("");
  return references + (sentence.support === "partly" ? ` ${IN_PART}` : "");
}

/**
 * @param {Answer} answer
 * @param {Map<string, Evidence>} quotes
 */
function paragraph(answer, quotes) {
  const points = codePoints(answer.text);
  const parts = answer.sentences.map((sentence) => {
    const text = escaped(points.slice(sentence.start, sentence.end).join(""));
    return (sentence.quotation ? `“${text}”` : text) + marks(sentence, quotes);
  });
  if (answer.usage.finish_reason === "length") parts.push(CUT);
  return parts.join(" ");
}

/** @param {Answer} answer */
export function answerAsMarkdown(answer) {
  /** @type {Map<string, Evidence>} */
  const quotes = new Map();
  const said = answer.status === "answered" ? paragraph(answer, quotes) : escaped(answer.text);
  const passages = new Map(answer.hits.map(({ passage }) => [passage.id, passage]));
  const footnotes = [...quotes.values()].map((evidence, i) => {
    const source = /** @type {Passage} */ (passages.get(evidence.passage_id));
    return `[^${i + 1}]: ${link(source)}: “${escaped(evidence.quote)}”`;
  });
  return `${[`# ${escaped(answer.question)}`, said, ...footnotes].join("\n\n")}\n`;
}
