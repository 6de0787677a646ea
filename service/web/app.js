// @ts-check
/** The page: one question at a time, from the box to an answer whose sentences can be checked. */

import { AnswerText, citationNumbers, spoken } from "./answer.js";
import { HistoryDrawer } from "./history.js";
import { answerAsMarkdown } from "./markdown.js";
import { hideNotice, showError, showNotice } from "./notice.js";
import { SettingsDrawer } from "./settings.js";
import { EvidencePanel, SourceList, supportInWords } from "./sources.js";
import { ask, AnswerError, health } from "./stream.js";
import { byId, codePoints, copyText, counted } from "./text.js";

/** @import { Answer, AnswerEvent, Hit, Sentence, Timings } from "./stream.js" */
/** @typedef {"idle" | "queued" | "searching" | "reading" | "writing" | "done" | "not_found" | "unanswered" | "stopped" | "error"} State */

const LONGEST = 2000; // characters, the server's own limit
const NEAR_LONGEST = 1800;
const RETRY_HEALTH_MS = 5000;
const LONG_WAIT_MS = 5000; // a search takes well under a second: by then the question stands in a line
const COPIED_MS = 2500;
const BUSY = ["queued", "searching", "reading", "writing"];
/** What the notice is called where the passages give no answer. */
const NO_ANSWER = { not_found: "Nothing found about this", unanswered: "The passages do not answer this" };
/** A mouse has room beside the paragraph; elsewhere the panel covers a part of it and waits to be asked for. */
const beside = matchMedia("(min-width: 64rem)");

const box = /** @type {HTMLTextAreaElement} */ (byId("question"));
const send = byId("send");
const stop = byId("stop");
const again = byId("again");
const asked = byId("asked");

const copy = byId("copy");

const settings = new SettingsDrawer();
const earlier = new HistoryDrawer(showEarlier);
const answer = new AnswerText(byId("answer"), openEvidence, pointAt);
const evidence = new EvidencePanel(closeEvidence);
const sources = new SourceList((passageId) => answer.light(passageId));

/** The answer so far. @type {{text: string, sentences: Sentence[], hits: Hit[], numbers: Map<string, number>}} */
let current = { text: "", sentences: [], hits: [], numbers: new Map() };
/** The answer shown, once it is whole. @type {Answer | null} */
let shown = null;
/** Stops the answer that is under way. @type {AbortController | null} */
let underWay = null;
let lastQuestion = "";
let nextHealth = 0;
let longWait = 0;

/** @param {string} words */
const announce = (words) => {
  byId("announcer").textContent = words;
};

/**
 * @param {State} state
 * @param {string} progress
 */
function enter(state, progress = "") {
  document.body.dataset.state = state;
  byId("progress").textContent = progress;
  byId("hero").hidden = byId("examples").hidden = state !== "idle";
  byId("result").hidden = state === "idle";
  swapButtons(BUSY.includes(state));
}

/**
 * Ask and Stop take each other's place; the keyboard is never left on a button that is gone.
 * @param {boolean} busy
 */
function swapButtons(busy) {
  const focus = document.activeElement;
  stop.hidden = !busy;
  send.hidden = busy;
  if (busy && focus !== box && focus !== stop && !isVisible(focus)) stop.focus();
  if (!busy && focus === stop) asked.focus({ preventScroll: true });
}

/** @param {Element | null} focus */
const isVisible = (focus) => focus instanceof HTMLElement && focus !== document.body && focus.offsetParent !== null;

/** @param {boolean} finished */
function render(finished) {
  current.numbers = citationNumbers(current.sentences);
  answer.render(current.text, current.sentences, current.numbers, finished);
  sources.render(current.hits, current.numbers, current.sentences);
  refreshEvidence();
}

/** Keep an open panel true to the sentence it is about. */
function refreshEvidence() {
  if (evidence.index === null) return;
  if (current.sentences[evidence.index]) showEvidence(evidence.index);
  else closeEvidence();
}

/** @param {number} index */
function showEvidence(index) {
  evidence.show(index, current.sentences[index], current.hits, current.numbers);
  return answer.mark(index);
}

/** @param {number} index */
function openEvidence(index) {
  if (index < 0) return;
  if (evidence.index === index && evidence.pinned) {
    closeEvidence();
    return;
  }
  const opener = showEvidence(index);
  evidence.pinned = true;
  evidence.focus();
  opener?.closest(".sentence")?.scrollIntoView({ block: "nearest" });
}

/** Show what a sentence rests on without going there. @param {number} index */
function pointAt(index) {
  if (index >= 0 && !evidence.pinned && beside.matches) showEvidence(index);
}

function closeEvidence() {
  const opener = answer.mark(evidence.index);
  if (evidence.focused) opener?.focus({ preventScroll: true });
  evidence.hide();
  answer.mark(null);
}

/** Clear the way for another answer. @param {string} question */
function clearFor(question) {
  lastQuestion = question;
  shown = null;
  current = { text: "", sentences: [], hits: [], numbers: new Map() };
  evidence.hide();
  answer.clear();
  sources.clear();
  asked.textContent = question;
  for (const id of ["summary", "took", "again", "copy"]) byId(id).hidden = true;
  hideNotice();
  document.title = `${question} · rag-rt`;
  history.replaceState(null, "", `?${new URLSearchParams({ q: question })}`);
}

/** @param {string} question */
function begin(question) {
  clearFor(question);
  enter("searching", "Searching for passages");
  announce("Searching for passages.");
  clearTimeout(longWait);
  longWait = setTimeout(explainWait, LONG_WAIT_MS);
}

function explainWait() {
  if (document.body.dataset.state !== "searching") return;
  enter("searching", "Waiting for the server, which may be answering others first");
  announce("Waiting for the server, which may be answering others first.");
}

/** @param {AnswerEvent} happened */
function take(happened) {
  switch (happened.event) {
    case "queued":
      queue(happened.data.ahead);
      break;
    case "retrieval":
      current.hits = happened.data.hits;
      enter("reading", `Reading ${counted(current.hits.length, "passage")}`);
      announce(`Reading ${counted(current.hits.length, "passage")}.`);
      break;
    case "token":
      current.text += happened.data.text;
      if (document.body.dataset.state !== "writing") enter("writing", "Writing");
      break;
    case "sentence":
      current.sentences[happened.data.index] = happened.data;
      break;
    case "done":
      finish(happened.data);
      return;
  }
  render(false);
}

/** @param {number} ahead */
function queue(ahead) {
  const words = ahead ? `${ahead.toLocaleString("en")} ahead of you` : "You are next";
  enter("queued", words);
  announce(`${words}.`);
}

/** @param {Answer} whole */
function finish(whole) {
  show(whole);
  earlier.add(whole);
}

/** @param {Answer} whole */
function show(whole) {
  const { status, hits, timings } = whole;
  const answered = status === "answered";
  shown = whole;
  current = { ...current, hits, text: answered ? whole.text : "", sentences: answered ? whole.sentences : [] };
  render(true);
  const read = `Written from ${counted(hits.length, "passage")} in ${seconds(timings.total)}`;
  enter(answered ? "done" : status, answered ? read : "");
  byId("took").textContent = tookInWords(timings);
  byId("took").hidden = copy.hidden = false;
  if (status !== "answered") {
    showNotice(NO_ANSWER[status], whole.text);
    byId("others").toggleAttribute("open", status === "unanswered");
    announce(whole.text);
    return;
  }
  const cut = whole.usage.finish_reason === "length" ? " The answer ends where it reached its greatest length." : "";
  const summary = `${supportInWords(current.sentences)}${cut}`;
  byId("summary").textContent = summary;
  byId("summary").hidden = summary === "";
  announce(`The answer is finished. ${spoken(whole.text, whole.sentences)} ${summary}`);
}

/** Show an answer that this browser kept. @param {Answer} whole */
function showEarlier(whole) {
  underWay?.abort();
  underWay = null;
  clearFor(whole.question);
  fill(whole.question);
  show(whole);
  asked.focus();
}

async function copyAnswer() {
  const copied = shown !== null && (await copyText(answerAsMarkdown(shown)));
  const words = copied ? "Copied" : "This browser did not allow it";
  copy.textContent = words;
  announce(copied ? "Copied as Markdown." : words);
  setTimeout(() => (copy.textContent = "Copy as Markdown"), COPIED_MS);
}

/** @param {number} time */
const seconds = (time) => `${time.toFixed(time < 1 ? 2 : 1)} s`;

/** @param {Timings} timings */
const tookInWords = ({ total, retrieval, generation }) =>
  `This answer took ${seconds(total)}: ${seconds(retrieval)} to search, ${seconds(generation)} to write.`;

function stopped() {
  render(true);
  enter("stopped");
  const kept = current.text ? "This is what was written until then." : "Nothing had been written yet.";
  showNotice("Stopped", kept);
  announce(`Stopped. ${kept}`);
  again.hidden = false;
}

/** @param {unknown} error */
function failed(error) {
  const known = error instanceof AnswerError ? error : new AnswerError("page", String(error));
  render(true);
  enter("error");
  announce(showError(known));
  again.hidden = false;
  if (known.code === "offline" || known.code === "lost") void describeServer();
  if (known.code.startsWith("api_key_")) settings.askForKey();
}

/** @param {string} question */
async function answerQuestion(question) {
  underWay?.abort();
  const mine = new AbortController();
  underWay = mine;
  begin(question);
  try {
    for await (const happened of ask(question, settings.options, settings.apiKey, mine.signal)) {
      mine.signal.throwIfAborted();
      take(happened);
    }
  } catch (error) {
    if (underWay === mine) mine.signal.aborted ? stopped() : failed(error);
    mine.abort(); // what this page cannot read need not be written
  }
  if (underWay === mine) underWay = null;
}

/** What is wrong with a question, in words, or nothing. @param {string} question */
function problemWith(question) {
  const length = codePoints(question).length;
  if (length === 0) return "Please write a question first.";
  if (length > LONGEST) return `Please shorten the question to ${LONGEST.toLocaleString("en")} characters.`;
  return "";
}

/** @param {string} problem */
function showProblem(problem) {
  byId("question-problem").textContent = problem;
  if (problem) box.setAttribute("aria-invalid", "true");
  else box.removeAttribute("aria-invalid");
}

function submit() {
  const question = box.value.trim();
  const problem = problemWith(question);
  showProblem(problem);
  if (problem) {
    box.focus();
    return;
  }
  if (underWay && question === lastQuestion) return;
  // on a phone the keyboard would cover the answer
  if (matchMedia("(pointer: coarse)").matches) box.blur();
  void answerQuestion(question);
}

function describeLength() {
  const length = codePoints(box.value.trim()).length;
  const near = length >= NEAR_LONGEST;
  byId("counter").textContent = near ? `${length.toLocaleString("en")} of ${LONGEST.toLocaleString("en")} characters` : "";
  byId("counter").classList.toggle("problem", length > LONGEST);
}

/** Grow the box with its text where the style sheet alone cannot. */
function fitBox() {
  if (CSS.supports("field-sizing", "content")) return;
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

function typed() {
  showProblem("");
  describeLength();
  fitBox();
}

/** @param {string} question */
function fill(question) {
  box.value = question;
  typed();
}

/** The corpus line; while the server does not answer, say so and look again. */
async function describeServer() {
  clearTimeout(nextHealth);
  const about = navigator.onLine ? await health() : null;
  if (about === null || about === "loading") {
    const reason = about ? "The server is still loading its models." : "The server cannot be reached at the moment.";
    byId("offline").textContent = `${navigator.onLine ? reason : "You are offline."} This page keeps trying.`;
    nextHealth = setTimeout(describeServer, RETRY_HEALTH_MS);
    return;
  }
  byId("offline").textContent = "";
  const { passages, pages, source } = about.index;
  byId("corpus").textContent = `Reads ${counted(passages, "passage")} from ${counted(pages, "article")} (${source}). Written by ${about.generator}, searched with ${about.encoder}. rag-rt ${about.version}.`;
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
box.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
box.addEventListener("input", typed);
stop.addEventListener("click", () => underWay?.abort());
copy.addEventListener("click", () => void copyAnswer());
again.addEventListener("click", () => void answerQuestion(lastQuestion));
byId("examples").addEventListener("click", (event) => {
  if (!(event.target instanceof HTMLButtonElement)) return;
  fill(event.target.textContent ?? "");
  submit();
});
document.addEventListener("keydown", (event) => {
  const drawerOpen = document.querySelector("dialog[open]") !== null;
  if (event.key === "Escape" && evidence.index !== null && !drawerOpen) closeEvidence();
});
for (const change of ["online", "offline"]) addEventListener(change, () => void describeServer());

fill(new URLSearchParams(location.search).get("q") ?? box.value);
if (!matchMedia("(pointer: coarse)").matches) box.focus({ preventScroll: true });
void describeServer();
