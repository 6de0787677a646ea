// @ts-check
/** The wire: one question out, the events of its answer in. */

/** @typedef {{id: string, page_id: string, title: string, text: string, url: string, start: number, end: number}} Passage */
/** @typedef {{passage: Passage, score: number, rank: number, similarity: number}} Hit */
/** @typedef {{passage_id: string, start: number, end: number, quote: string, score: number}} Evidence */
/** @typedef {{start: number, end: number, support: "supported" | "partly" | "unsupported", evidence: Evidence[], quotation: boolean}} Sentence */
/** @typedef {{retrieval: number, prompting: number, generation: number, grounding: number, total: number}} Timings */
/** @typedef {{question: string, text: string, status: "answered" | "not_found" | "unanswered", sentences: Sentence[], hits: Hit[], usage: {finish_reason: "stop" | "length"}, timings: Timings}} Answer */
/** @typedef {{field: string, message: string}} Detail */
/** @typedef {"dense" | "bm25" | "hybrid"} Retrieval */
/** @typedef {{mode: "grounded" | "free" | "extractive", k: number, max_tokens: number, retrieval: Retrieval | null}} Options */
/**
 * @typedef {{event: "queued", data: {ahead: number}}
 *   | {event: "retrieval", data: {hits: Hit[]}}
 *   | {event: "token", data: {text: string}}
 *   | {event: "sentence", data: Sentence & {index: number}}
 *   | {event: "done", data: Answer}} AnswerEvent
 */

/** Why there is no answer: a code of the server's, or `offline`, `lost`, `unreadable` of our own. */
export class AnswerError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {Detail[]} details
   * @param {number | null} retryAfter seconds, where the server says when to try again
   */
  constructor(code, message, details = [], retryAfter = null) {
    super(message);
    this.code = code;
    this.details = details;
    this.retryAfter = retryAfter;
  }
}

const OFFLINE = "Check that it is running, then try again.";
const LOST = "It ended before the answer was finished. What had arrived until then is kept.";
const UNREADABLE = "The server sent something that this page cannot read. The page and the server may be of different versions.";

/**
 * The error in a body of the server's, whatever that body turns out to be.
 * @param {unknown} body
 * @param {string} otherwise
 * @param {string | null} retryAfter the header, in seconds
 */
function errorOf(body, otherwise, retryAfter = null) {
  const error = /** @type {{error?: {code?: unknown, message?: unknown, details?: unknown}} | null} */ (body)?.error;
  const wait = /^\d+$/u.test(retryAfter ?? "") ? Number(retryAfter) : null;
  if (typeof error?.message !== "string") return new AnswerError("internal", otherwise, [], wait);
  return new AnswerError(String(error.code), error.message, Array.isArray(error.details) ? error.details : [], wait);
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new AnswerError("unreadable", UNREADABLE);
  }
}

/**
 * Turn a failed read into an AnswerError; a stop by the reader and errors already in words pass as they are.
 * @template T
 * @param {Promise<T>} reading
 * @param {string} code
 * @param {string} message
 * @returns {Promise<T>}
 */
async function inWords(reading, code, message) {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new AnswerError(code, message);
  }
}

/**
 * The server-sent events of a body (https://html.spec.whatwg.org/multipage/server-sent-events.html).
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<{id: string, event: string, data: string}, void, void>}
 */
async function* serverSentEvents(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let event = "";
  let id = "";
  /** @type {string[]} */
  let data = [];
  for (;;) {
    const { value, done } = await inWords(reader.read(), "lost", LOST);
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    // a final \r may be the first half of \r\n: it waits for what follows
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const [, field, content] = /^([^:]*):? ?(.*)$/su.exec(line) ?? [];
      if (field === "event") event = content;
      else if (field === "data") data.push(content);
      else if (field === "id") id = content;
      if (line !== "") continue;
      if (data.length) yield { id, event, data: data.join("\n") };
      event = "";
      data = [];
    }
  }
}

/** What a lost connection looks like; "gone" when the server no longer knows what to go on with. */
const LOSSES = ["lost", "offline", "loading", "gone"];
/** Waits before a lost stream is asked for again, in milliseconds. */
const RETRIES = [250, 1000, 3000];

/**
 * Wait, unless the reader stops the answer meanwhile.
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 */
const pause = (milliseconds, signal) =>
  new Promise((resolve, reject) => {
    setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });

/**
 * Ask a question and follow its answer; the last event is `done`, or an AnswerError is thrown. A lost connection is
 * taken up again after the last event that came.
 * @param {string} question
 * @param {Options} options
 * @param {string} apiKey "" for none
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<AnswerEvent, void, void>}
 */
export async function* ask(question, options, apiKey, signal) {
  let last = "";
  for (let tries = 0; ; tries += 1) {
    try {
      for await (const { id, ...happened } of follow(question, options, apiKey, last, signal)) {
        last = id;
        tries = 0;
        yield happened;
      }
      return;
    } catch (error) {
      if (!last || !(error instanceof AnswerError && LOSSES.includes(error.code))) throw error;
      const wait = RETRIES[tries];
      if (error.code === "gone" || wait === undefined) throw new AnswerError("lost", LOST);
      await pause(wait, signal);
    }
  }
}

/**
 * One connection to an answer, from its beginning or after an event.
 * @param {string} question
 * @param {Options} options
 * @param {string} apiKey "" for none
 * @param {string} last the id of that event, "" for none
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<AnswerEvent & {id: string}, void, void>}
 */
async function* follow(question, options, apiKey, last, signal) {
  const sent = fetch("answer", {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Accept: "text/event-stream",
      ...(apiKey && { Authorization: `Bearer ${apiKey}` }),
      ...(last && { "Last-Event-ID": last }),
    },
    body: JSON.stringify({ question, ...options, stream: true }),
    signal,
  });
  const reply = await inWords(sent, "offline", OFFLINE);
  if (!reply.ok) {
    const otherwise = `It replied with status ${reply.status} and no explanation.`;
    throw errorOf(await reply.json().catch(() => null), otherwise, reply.headers.get("Retry-After"));
  }
  if (!reply.body) throw new AnswerError("unreadable", UNREADABLE);
  for await (const { id, event, data } of serverSentEvents(reply.body)) {
    const content = parsed(data);
    if (event === "error") throw errorOf(content, "It gave no explanation.");
    yield /** @type {AnswerEvent & {id: string}} */ ({ id, event, data: content });
    if (event === "done") return;
  }
  throw new AnswerError("lost", LOST);
}

/** @typedef {{status: string, version: string, generator: string, encoder: string, index: {passages: number, pages: number, source: string}}} Health */

/**
 * What the server says of itself; "loading" while it starts, null when it does not answer.
 * @returns {Promise<Health | "loading" | null>}
 */
export async function health() {
  try {
    const reply = await fetch("readyz");
    if (reply.status === 503) return "loading";
    return reply.ok ? await reply.json() : null;
  } catch {
    return null;
  }
}
