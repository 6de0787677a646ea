// @ts-check
/** Beside the paragraph: the evidence of one sentence, and the passages that the answer was written from. */

import { NO_SUPPORT } from "./answer.js";
import { byId, counted, element, listed, outsideLink, pieces, quoteAddress, setChildren, webAddress } from "./text.js";

/** @import { Evidence, Hit, Passage, Sentence } from "./stream.js" */

const SUPPORT = { supported: "Supported", partly: "In part", unsupported: "No support" };

/** @param {number} score */
const rounded = (score) => score.toFixed(2);

/**
 * A passage with the words of its evidence highlighted.
 * @param {Passage} passage
 * @param {Evidence[]} evidence
 */
function highlighted(passage, evidence) {
  const parts = pieces(passage.text, evidence).map(({ text, marked }) => (marked ? element("mark", {}, text) : text));
  return element("blockquote", { class: "passage" }, ...parts);
}

/**
 * @param {Passage} passage
 * @param {Evidence[]} evidence
 * @param {number} number
 */
function evidenceOf(passage, evidence, number) {
  const title = element("h3", {}, element("span", { class: "number" }, `[${number}]`), " ", outsideLink(passage.url, passage.title));
  const facts = element("p", { class: "facts" }, `Support ${evidence.map((e) => rounded(e.score)).join(", ")} of 1`);
  const page = webAddress(passage.url);
  if (page) facts.append(" · ", outsideLink(quoteAddress(page, evidence[0].quote), "Find it in the article"));
  return element("div", { class: "piece" }, title, highlighted(passage, evidence), facts);
}

export class EvidencePanel {
  #panel = byId("evidence");
  #title = byId("evidence-title");
  #support = byId("evidence-support");
  #body = byId("evidence-body");
  #shown = "";
  /** The sentence shown, or null. @type {number | null} */
  index = null;
  /** Whether the reader asked for it, more than by pointing at the sentence. */
  pinned = false;

  /** @param {() => void} closed called when the reader closes the panel */
  constructor(closed) {
    byId("evidence-close").addEventListener("click", closed);
  }

  /**
   * Show what a sentence rests on; what is shown already stays as it is, scrolled as it is.
   * @param {number} index
   * @param {Sentence} sentence
   * @param {Hit[]} hits
   * @param {Map<string, number>} numbers
   */
  show(index, sentence, hits, numbers) {
    const shows = JSON.stringify([index, sentence.evidence, [...numbers]]);
    if (shows === this.#shown) return;
    this.#shown = shows;
    this.index = index;
    this.#title.textContent = `Evidence for sentence ${index + 1}`;
    this.#support.textContent = SUPPORT[sentence.support];
    const found = hits.flatMap(({ passage }) => {
      const evidence = sentence.evidence.filter((e) => e.passage_id === passage.id);
      return evidence.length ? [{ passage, evidence, number: numbers.get(passage.id) ?? 0 }] : [];
    });
    found.sort((a, b) => a.number - b.number);
    this.#body.replaceChildren(
      ...(found.length ? found.map((s) => evidenceOf(s.passage, s.evidence, s.number)) : [this.#nothing()]),
    );
    this.#panel.classList.toggle("unsupported", !found.length);
    this.#panel.classList.toggle("partly", sentence.support === "partly");
    this.#panel.hidden = false;
    this.#toFirstMark();
  }

  hide() {
    this.#shown = "";
    this.index = null;
    this.pinned = false;
    this.#panel.hidden = true;
  }

  focus() {
    this.#title.focus({ preventScroll: true });
  }

  /** @returns {boolean} whether the keyboard is in the panel */
  get focused() {
    return this.#panel.contains(document.activeElement);
  }

  #nothing() {
    const words = `${NO_SUPPORT[0].toUpperCase()}${NO_SUPPORT.slice(1)}.`;
    return element(
      "div",
      { class: "piece" },
      element("p", { class: "none" }, words),
      element("p", { class: "facts" }, "It may be true or false: nothing that was read for this answer says so. Check it elsewhere before you rely on it."),
    );
  }

  /** Bring the first highlighted words into the panel's view, without moving the page. */
  #toFirstMark() {
    const mark = this.#body.querySelector("mark");
    this.#body.scrollTop = 0;
    if (!mark) return;
    const below = mark.getBoundingClientRect().bottom - this.#body.getBoundingClientRect().bottom;
    if (below > 0) this.#body.scrollTop = below + 24;
  }
}

export class SourceList {
  #section = byId("sources");
  #title = byId("sources-title");
  #cited = byId("cited");
  #others = byId("others");
  #summary = byId("others-summary");
  #uncited = byId("uncited");
  /** @type {Map<string, {node: HTMLElement, facts: HTMLElement}>} */
  #items = new Map();
  #point;

  /** @param {(passageId: string | null) => void} point called with the passage that the reader points at */
  constructor(point) {
    this.#point = point;
  }

  clear() {
    this.#items.clear();
    this.#others.removeAttribute("open");
    this.render([], new Map(), []);
  }

  /**
   * @param {Hit[]} hits
   * @param {Map<string, number>} numbers
   * @param {Sentence[]} sentences
   */
  render(hits, numbers, sentences) {
    const cited = hits.filter((hit) => numbers.has(hit.passage.id));
    const uncited = hits.filter((hit) => !numbers.has(hit.passage.id));
    cited.sort((a, b) => (numbers.get(a.passage.id) ?? 0) - (numbers.get(b.passage.id) ?? 0));
    setChildren(this.#cited, cited.map((hit) => this.#item(hit, sentences)));
    setChildren(this.#uncited, uncited.map((hit) => this.#item(hit, sentences)));
    this.#title.hidden = this.#cited.hidden = cited.length === 0;
    this.#others.hidden = uncited.length === 0;
    this.#summary.textContent = `${cited.length ? "Also retrieved" : "Passages found"} (${uncited.length})`;
    this.#section.hidden = hits.length === 0;
  }

  /**
   * @param {Hit} hit
   * @param {Sentence[]} sentences
   */
  #item(hit, sentences) {
    const { passage } = hit;
    const item = this.#items.get(passage.id) ?? this.#newItem(passage);
    this.#items.set(passage.id, item);
    const by = sentences.flatMap((s, i) => (s.evidence.some((e) => e.passage_id === passage.id) ? [i + 1] : []));
    const supports = by.length ? [`supports ${by.length === 1 ? "sentence" : "sentences"} ${listed(by)}`] : [];
    const facts = [...supports, `similarity ${rounded(hit.similarity)}`].join(" · ");
    item.facts.textContent = `${facts[0].toUpperCase()}${facts.slice(1)}`;
    return item.node;
  }

  /** @param {Passage} passage */
  #newItem(passage) {
    const facts = element("p", { class: "facts" });
    const whole = element("details", {}, element("summary", {}, "Read the passage"), element("blockquote", { class: "passage" }, passage.text));
    const site = webAddress(passage.url)?.hostname;
    const title = element("p", { class: "title" }, outsideLink(passage.url, passage.title));
    const node = element("li", { class: "card" }, title, ...(site ? [element("p", { class: "site" }, site)] : []), facts, whole);
    for (const on of ["pointerenter", "focusin"]) node.addEventListener(on, () => this.#point(passage.id));
    for (const off of ["pointerleave", "focusout"]) node.addEventListener(off, () => this.#point(null));
    return { node, facts };
  }
}

/**
 * How much of the answer rests on the sources, in words.
 * @param {Sentence[]} sentences
 */
export function supportInWords(sentences) {
  const total = sentences.length;
  const bare = sentences.filter((sentence) => sentence.support === "unsupported").length;
  const partly = sentences.filter((sentence) => sentence.support === "partly").length;
  const dashed = partly ? ` What ${partly === 1 ? "the one" : `the ${partly}`} with a dashed line ${partly === 1 ? "says" : "say"} is there only in part.` : "";
  const them = total === 1 ? "The sentence" : `All ${total} sentences`;
  if (total === 0) return "";
  if (bare === 0) return `${them} ${total === 1 ? "rests" : "rest"} on the sources. Choose ${total === 1 ? "it" : "one"} to see the words.${dashed}`;
  if (bare === total) return "No support was found in the retrieved passages for any of this.";
  const some = `${total - bare} of ${total} sentences ${total - bare === 1 ? "rests" : "rest"} on the sources; choose one to see the words.`;
  return `${some}${dashed} For the ${bare === 1 ? "one" : bare} with a dotted line, no support was found in the retrieved passages.`;
}
