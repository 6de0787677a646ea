// @ts-check
/** Earlier answers, kept in this browser alone: the newest first, only so many, cleared by one button. */

import { closable } from "./settings.js";
import { forget, recall, remember } from "./storage.js";
import { byId, element } from "./text.js";

/** @import { Answer } from "./stream.js" */
/** @typedef {{at: number, answer: Answer}} Entry */

const KEY = "rag-rt-history";
const MOST = 30; // about 10 kB each; browsers give a site 5 MB

/**
 * @param {unknown} entry
 * @returns {entry is Entry}
 */
function isEntry(entry) {
  const { at, answer } = /** @type {Partial<Entry>} */ (entry ?? {});
  return Number.isFinite(at) && typeof answer?.question === "string" && Array.isArray(answer.hits) && Array.isArray(answer.sentences);
}

/** @returns {Entry[]} */
function stored() {
  const entries = recall(KEY);
  return Array.isArray(entries) ? entries.filter(isEntry) : [];
}

export class HistoryDrawer {
  #drawer = /** @type {HTMLDialogElement} */ (byId("history"));
  #choose;

  /** @param {(answer: Answer) => void} choose called with the answer that the reader comes back to */
  constructor(choose) {
    this.#choose = choose;
    byId("open-history").addEventListener("click", () => {
      this.#render();
      this.#drawer.showModal();
    });
    byId("history-clear").addEventListener("click", () => {
      forget(KEY);
      this.#render();
      byId("history-title").focus();
    });
    closable(this.#drawer);
  }

  /**
   * Keep an answer as the newest; the oldest make room for it. Read anew: another tab may have added some.
   * @param {Answer} answer
   */
  add(answer) {
    const others = stored().filter((entry) => entry.answer.question !== answer.question);
    const entries = [{ at: Date.now(), answer }, ...others].slice(0, MOST);
    while (entries.length && !remember(KEY, entries)) entries.pop();
  }

  #render() {
    const entries = stored();
    byId("history-list").replaceChildren(...entries.map((entry) => this.#item(entry)));
    byId("history-empty").hidden = entries.length > 0;
    byId("history-clear").hidden = entries.length === 0;
  }

  /** @param {Entry} entry */
  #item({ at, answer }) {
    const when = new Date(at);
    const words = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" }).format(when);
    const time = element("time", { datetime: when.toISOString() }, words);
    const button = element("button", { type: "button" }, element("span", {}, answer.question), time);
    button.addEventListener("click", () => {
      this.#drawer.close();
      this.#choose(answer);
    });
    return element("li", {}, button);
  }
}
