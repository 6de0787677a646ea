// @ts-check
/** The paragraph: finished sentences with their citation numbers, then the words still being written. */

import { codePoints, element, lastWord, setChildren } from "./text.js";

/** @import { Sentence } from "./stream.js" */

const REST_MS = 120; // a mouse that only crosses a sentence does not ask for it

export const NO_SUPPORT = "no support found in the retrieved passages";

/**
 * The number of each cited passage, in the order of first citation.
 * @param {Sentence[]} sentences
 * @returns {Map<string, number>}
 */
export function citationNumbers(sentences) {
  const ids = new Set(sentences.flatMap((sentence) => sentence.evidence.map((e) => e.passage_id)));
  return new Map([...ids].map((id, i) => [id, i + 1]));
}

/**
 * The numbers that one sentence carries, ascending.
 * @param {Sentence} sentence
 * @param {Map<string, number>} numbers
 */
const numbersOf = (sentence, numbers) =>
  [...new Set(sentence.evidence.map((e) => numbers.get(e.passage_id) ?? 0))].sort((a, b) => a - b);

/**
 * @param {Sentence} sentence
 * @param {Map<string, number>} numbers
 */
function citation(sentence, numbers) {
  const cited = numbersOf(sentence, numbers);
  const supported = sentence.support !== "unsupported";
  const words = supported ? cited.map((n) => `[${n}]`).join("") : "no support";
  const extent = sentence.support === "partly" ? "in part: " : "";
  const name = supported ? `${cited.join(", ")}: ${extent}show the evidence` : NO_SUPPORT;
  return element(
    "button",
    { type: "button", class: "cite", "aria-label": name, "aria-expanded": "false", "aria-controls": "evidence" },
    words,
  );
}

export class AnswerText {
  /** @type {{key: string, node: HTMLElement}[]} */
  #rendered = [];
  /** @type {Sentence[]} */
  #sentences = [];
  #tail = element("span", { class: "tail" });

  /**
   * @param {HTMLElement} place
   * @param {(index: number) => void} choose called with the sentence that the reader opens
   * @param {(index: number) => void} point called with the one that a mouse rests on or that has the focus
   */
  constructor(place, choose, point) {
    this.place = place;
    /** @param {EventTarget | null} target */
    const indexOf = (target) => {
      const sentence = target instanceof Element && target.closest(".sentence");
      return this.#rendered.findIndex(({ node }) => node === sentence);
    };
    let resting = 0;
    place.addEventListener("pointerover", (event) => {
      clearTimeout(resting);
      const index = indexOf(event.target);
      if (event.pointerType === "mouse" && index >= 0) resting = setTimeout(() => point(index), REST_MS);
    });
    place.addEventListener("pointerleave", () => clearTimeout(resting));
    place.addEventListener("focusin", (event) => {
      if (event.target instanceof Element && event.target.matches(":focus-visible")) point(indexOf(event.target));
    });
    place.addEventListener("click", (event) => {
      clearTimeout(resting);
      const selecting = document.getSelection()?.isCollapsed === false;
      if (!(selecting && event.detail > 0)) choose(indexOf(event.target));
    });
  }

  clear() {
    this.#rendered = [];
    this.#sentences = [];
    this.place.replaceChildren();
  }

  /**
   * Show the text so far. Sentences already shown keep their elements. Unfinished words are
   * hidden from screen readers until `finished`.
   * @param {string} text
   * @param {Sentence[]} sentences
   * @param {Map<string, number>} numbers
   * @param {boolean} finished
   */
  render(text, sentences, numbers, finished) {
    const points = codePoints(text);
    /** @type {Node[]} */
    const nodes = [];
    let at = 0;
    this.#sentences = sentences.filter((sentence) => sentence.end <= points.length);
    this.#rendered = this.#sentences.map((sentence, i) => {
      const gap = points.slice(at, sentence.start).join("");
      const words = points.slice(sentence.start, sentence.end).join("");
      const node = this.#sentenceNode(i, sentence.quotation ? `“${words}”` : words, sentence, numbers);
      const before = node.node.previousSibling;
      const kept = before instanceof Text && before.data === gap && before.parentNode === this.place;
      if (gap) nodes.push(kept ? before : new Text(gap));
      nodes.push(node.node);
      at = sentence.end;
      return node;
    });
    this.#tail.textContent = points.slice(at).join("");
    this.#tail.toggleAttribute("data-writing", !finished);
    if (finished) this.#tail.removeAttribute("aria-hidden");
    else this.#tail.setAttribute("aria-hidden", "true");
    setChildren(this.place, [...nodes, this.#tail]);
  }

  /**
   * @param {number} index
   * @param {string} words
   * @param {Sentence} sentence
   * @param {Map<string, number>} numbers
   */
  #sentenceNode(index, words, sentence, numbers) {
    const key = JSON.stringify([words, sentence.support, numbersOf(sentence, numbers)]);
    const known = this.#rendered[index];
    if (known?.key === key) return known;
    const [head, last] = lastWord(words);
    const end = element("span", { class: "keep" }, last, citation(sentence, numbers));
    return { key, node: element("span", { class: `sentence ${sentence.support}` }, head, end) };
  }

  /**
   * Show which sentence is open, and give its button.
   * @param {number | null} index
   * @returns {HTMLElement | null}
   */
  mark(index) {
    this.#rendered.forEach(({ node }, i) => {
      node.classList.toggle("open", i === index);
      node.querySelector(".cite")?.setAttribute("aria-expanded", String(i === index));
    });
    return index === null ? null : (this.#rendered[index]?.node.querySelector(".cite") ?? null);
  }

  /**
   * Light up the sentences that rest on a passage.
   * @param {string | null} passageId
   */
  light(passageId) {
    this.#rendered.forEach(({ node }, i) => {
      node.classList.toggle("lit", this.#sentences[i].evidence.some((e) => e.passage_id === passageId));
    });
  }
}

/**
 * The paragraph as it is read out: what is a quotation, and what has no support, is said.
 * @param {string} text
 * @param {Sentence[]} sentences
 */
export function spoken(text, sentences) {
  const points = codePoints(text);
  const said = sentences.map((sentence) => {
    const words = points.slice(sentence.start, sentence.end).join("");
    const mark = { supported: "", partly: " (supported in part)", unsupported: " (no support found)" }[sentence.support];
    return (sentence.quotation ? `“${words}”` : words) + mark;
  });
  return said.join(" ");
}
