// @ts-check
/** How to answer: chosen in a drawer, remembered by the browser. */

import { byId } from "./text.js";
import { forget, recall, remember } from "./storage.js";

/** @import { Options } from "./stream.js" */

const KEY = "rag-rt-settings";
const API_KEY = "rag-rt-key";
/** @type {Options} The server's own. */
const DEFAULTS = { mode: "grounded", k: 8, max_tokens: 256, retrieval: null };
const MODES = ["grounded", "free", "extractive"];
const RETRIEVALS = ["dense", "bm25", "hybrid"];
const LENGTHS = [128, 256, 512];
const MOST_PASSAGES = 20;

/**
 * The choices of what was stored, as far as they still can be chosen.
 * @param {unknown} stored
 * @returns {Options}
 */
function checked(stored) {
  const { mode, k, max_tokens, retrieval } = /** @type {Partial<Options>} */ (stored ?? {});
  return {
    mode: mode && MODES.includes(mode) ? mode : DEFAULTS.mode,
    k: Number.isInteger(k) && Number(k) >= 1 && Number(k) <= MOST_PASSAGES ? Number(k) : DEFAULTS.k,
    max_tokens: max_tokens && LENGTHS.includes(max_tokens) ? max_tokens : DEFAULTS.max_tokens,
    retrieval: retrieval && RETRIEVALS.includes(retrieval) ? retrieval : DEFAULTS.retrieval,
  };
}

export class SettingsDrawer {
  #drawer = /** @type {HTMLDialogElement} */ (byId("settings"));
  #form = /** @type {HTMLFormElement} */ (byId("settings-form"));
  #key = /** @type {HTMLInputElement} */ (byId("key"));

  constructor() {
    this.#show(checked(recall(KEY)));
    this.#key.value = String(recall(API_KEY) ?? "");
    this.#form.addEventListener("input", () => {
      remember(KEY, this.options);
      if (this.apiKey) remember(API_KEY, this.apiKey);
      else forget(API_KEY);
      this.#describe();
    });
    this.#form.addEventListener("reset", (event) => {
      event.preventDefault();
      forget(KEY);
      forget(API_KEY);
      this.#key.value = "";
      this.#show(DEFAULTS);
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#drawer.close();
    });
    byId("open-settings").addEventListener("click", () => this.#drawer.showModal());
    closable(this.#drawer);
  }

  /** What is chosen. @returns {Options} */
  get options() {
    const chosen = new FormData(this.#form);
    return checked({
      mode: chosen.get("mode"),
      k: Number(chosen.get("k")),
      max_tokens: Number(chosen.get("max_tokens")),
      retrieval: chosen.get("retrieval"),
    });
  }

  /** What the server may ask for, "" if nothing was entered. */
  get apiKey() {
    return this.#key.value.trim();
  }

  /** Show where a key is entered. */
  askForKey() {
    this.#drawer.showModal();
    this.#key.focus();
  }

  /** @param {Options} options */
  #show(options) {
    for (const [name, value] of Object.entries(options)) {
      const field = /** @type {RadioNodeList | HTMLInputElement} */ (this.#form.elements.namedItem(name));
      field.value = String(value ?? "");
    }
    this.#describe();
  }

  #describe() {
    byId("k-value").textContent = String(this.options.k);
  }
}

/**
 * Let a drawer be closed by its button and by a click beside it; Escape closes it anyway.
 * @param {HTMLDialogElement} drawer
 */
export function closable(drawer) {
  drawer.querySelector(".close")?.addEventListener("click", () => drawer.close());
  drawer.addEventListener("click", (event) => {
    if (event.target === drawer) drawer.close();
  });
}
