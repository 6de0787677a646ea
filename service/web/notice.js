// @ts-check
/** Why there is no answer, in words, and when to try again. */

import { byId, counted, element } from "./text.js";

/** @import { AnswerError, Detail } from "./stream.js" */

/** What each error is called, and what it means where the server's own words are not for readers. @type {Record<string, [string, string?]>} */
const ERRORS = {
  offline: ["The server cannot be reached"],
  lost: ["The connection was lost"],
  unreadable: ["The reply could not be read"],
  overloaded: ["The server is busy", "More questions are waiting than it can take."],
  api_key_missing: ["The server asks for a key", "Enter it in the settings, then ask again."],
  api_key_invalid: ["The server does not know this key", "Correct it in the settings, then ask again."],
  rate_limited: ["Too many questions at once"],
  loading: ["The server is still starting", "It is loading its models."],
  shutting_down: ["The server is stopping", "It takes no more questions."],
  worker_lost: ["The answer was lost", "The part of the server that writes it ended, and is being started again."],
  out_of_memory: ["The server ran out of memory", "There was not enough left for this answer."],
  deadline_exceeded: ["The answer took too long"],
  invalid_request: ["The question was not accepted"],
  prompt_too_long: ["The question is too long"],
  too_large: ["The question is too long"],
};

let countdown = 0;

export function hideNotice() {
  clearInterval(countdown);
  byId("notice").hidden = true;
}

/**
 * @param {string} title
 * @param {string} text
 * @param {Detail[]} details
 */
export function showNotice(title, text, details = []) {
  clearInterval(countdown);
  byId("notice-title").textContent = title;
  byId("notice-text").textContent = text;
  byId("notice-wait").textContent = "";
  const lines = details.map(({ field, message }) => element("li", {}, field ? `${field}: ${message}` : message));
  byId("notice-details").replaceChildren(...lines);
  byId("notice-details").hidden = lines.length === 0;
  byId("notice").hidden = false;
}

/**
 * @param {AnswerError} error
 * @returns {string} the whole notice, to be read out
 */
export function showError(error) {
  const [title, words = sentence(error.message)] = ERRORS[error.code] ?? ["Something went wrong"];
  showNotice(title, words, error.details);
  const wait = error.retryAfter === null ? "" : ` ${countDown(error.retryAfter)}`;
  return `${title}. ${words}${wait}`;
}

/** @param {string} message */
const sentence = (message) => `${message.charAt(0).toUpperCase()}${message.slice(1)}${/[.!?]$/u.test(message) ? "" : "."}`;

/**
 * Show how long to wait, second by second.
 * @param {number} seconds
 */
function countDown(seconds) {
  const until = performance.now() + seconds * 1000;
  const tell = () => {
    const left = Math.ceil((until - performance.now()) / 1000);
    if (left <= 0) clearInterval(countdown);
    const words = left > 0 ? `You can try again in ${counted(left, "second")}.` : "You can try again now.";
    byId("notice-wait").textContent = words;
    return words;
  };
  countdown = setInterval(tell, 1000);
  return tell();
}
