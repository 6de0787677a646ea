"""What the commands print: an answer as it is written, its sources, progress."""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from transformers.utils.logging import disable_progress_bar

from rag_rt.answers import Answer, FinishReason, Sentence, Status, Support
from rag_rt.events import Event, Finished, Grounded, Retrieved, Wrote
from rag_rt.inert import inert, inert_json
from retriever.encoders import Progress as ProgressCallback

_REMEMBERED = 3600.0  # seconds of steps from which the time left is estimated
UNSUPPORTED_MARK = "[no support]"
PARTLY_MARK = "[in part]"
# As far from black as from white (4.5:1 at least, WCAG 1.4.3): nobody knows the terminal's colour.
STYLES = {
    Support.SUPPORTED: "#128739",
    Support.PARTLY: "#a06a00",
    Support.UNSUPPORTED: "#d93a2b",
}

output = Console(highlight=False, soft_wrap=True)
messages = Console(stderr=True, highlight=False)
disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers draws one for every model, in which nobody waits


def say(message: str) -> None:
    """Tell the person at the terminal what goes on, on standard error."""
    messages.print(message, soft_wrap=True, markup=False)


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """A spinner while something takes seconds; nothing where standard error is no terminal."""
    if not messages.is_terminal:
        yield
        return
    with messages.status(title):
        yield


class _Rate(ProgressColumn):
    """How many of what is counted are done in a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {self._unit}/s" if speed else "")


@contextmanager
def bar(title: str, unit: str = "") -> Iterator[ProgressCallback]:
    """A progress bar with an ETA, and with how many a second where they have a name.

    Nothing where standard error is no terminal.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *([_Rate(unit)] if unit else []),
        TimeElapsedColumn(),
        TextColumn("elapsed, left"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns,
        console=messages,
        disable=not messages.is_terminal,
        # rich forgets steps that are half a minute old; a batch of answers can take longer.
        speed_estimate_period=_REMEMBERED,
    ) as progress:
        task = progress.add_task(title, total=None, visible=False)

        def update(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        yield update


def answer_as_json(answer: Answer) -> str:
    """An answer as one JSON object, which no terminal takes for commands."""
    return inert_json(json.dumps(asdict(answer), ensure_ascii=False))


class AnswerPrinter:
    """Prints an answer while it comes, sentence by sentence, then the quotes it rests on.

    A sentence waits until it is known what it rests on, so that it has its colour from the start.
    One without support also waits for what follows: a text that only says that there is no answer
    needs none. Sources are numbered by page, in the order in which they are first cited.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._text = ""
        self._printed = 0
        self._column = 0
        self._waiting: Sentence | None = None
        self._page_of: dict[str, str] = {}
        self._cited: dict[str, list[str]] = {}  # the quotes of each page

    def print_all(self, events: Iterable[Event]) -> Answer:
        """Print the events of an answer, then its sources; returns the answer."""
        for event in events:
            match event:
                case Retrieved(hits):
                    self._page_of = {hit.passage.id: hit.passage.page_id for hit in hits}
                case Wrote(text):
                    self._text += text
                case Grounded(_, sentence):
                    self._print_waiting()
                    self._waiting = sentence
                    if sentence.support is not Support.UNSUPPORTED:
                        self._print_waiting()
                case Finished(answer):
                    self._finish(answer)
                    return answer
        raise AssertionError("a stream ends with Finished")

    def _finish(self, answer: Answer) -> None:
        if answer.status is Status.ANSWERED:
            self._print_waiting()
            self._console.print("\n")
            self._print_sources(answer)
        else:
            self._put(inert(self._text[self._printed :]))
            self._console.print()

    def _print_waiting(self) -> None:
        sentence, self._waiting = self._waiting, None
        if sentence is None:
            return
        style = STYLES[sentence.support]
        words = inert(self._text[sentence.start : sentence.end])
        self._put(" " if self._printed else "")
        self._put(f"“{words}”" if sentence.quotation else words, style)
        self._put(self._mark(sentence), f"bold {style}")
        self._printed = sentence.end

    def _mark(self, sentence: Sentence) -> str:
        """What stands behind a sentence; adds its quotes to those cited."""
        if sentence.support is Support.UNSUPPORTED:
            return f" {UNSUPPORTED_MARK}"
        pages = dict.fromkeys(self._page_of[e.passage_id] for e in sentence.evidence)
        for evidence in sentence.evidence:
            quotes = self._cited.setdefault(self._page_of[evidence.passage_id], [])
            if evidence.quote not in quotes:
                quotes.append(evidence.quote)
        numbers = list(self._cited)
        cited = "".join(f" [{numbers.index(page) + 1}]" for page in pages)
        return cited + (f" {PARTLY_MARK}" if sentence.support is Support.PARTLY else "")

    def _put(self, text: str, style: str = "") -> None:
        """Print words; on a terminal, a line ends between two of them."""
        shown = ""
        for piece in re.findall(r" |[^ ]+", text):
            if self._console.is_terminal and self._column + cell_len(piece) > self._console.width:
                shown, piece, self._column = f"{shown}\n", piece.lstrip(), 0
            shown += piece
            self._column += cell_len(piece)
        self._console.print(Text(shown, style), end="", soft_wrap=True)

    def _print_sources(self, answer: Answer) -> None:
        pages = {hit.passage.page_id: hit.passage for hit in reversed(answer.hits)}
        if self._cited:
            self._console.print(Text("Sources", "bold"))
        for number, (page, quotes) in enumerate(self._cited.items(), start=1):
            title, url = inert(pages[page].title), inert(pages[page].url)
            line = Text.assemble(f"  [{number}] ", (title, "bold"), f"  {url}")
            self._console.print(line, soft_wrap=True)
            for quote in quotes:
                self._print_quote(f"“{inert(quote)}”")
        if answer.usage.finish_reason is FinishReason.LENGTH:
            tokens = answer.usage.completion_tokens
            self._console.print(Text(f"The answer was cut at {tokens} tokens", "bold"))
        unsupported = [s for s in answer.sentences if s.support is Support.UNSUPPORTED]
        if unsupported:
            heading = "No support in the retrieved passages for"
            self._console.print(Text(heading, f"bold {STYLES[Support.UNSUPPORTED]}"))
        for sentence in unsupported:
            words = inert(answer.text[sentence.start : sentence.end])
            self._console.print(Text(f"  - {words}"), soft_wrap=True)

    def _print_quote(self, quote: str) -> None:
        shown = Text(quote, "italic")
        if self._console.is_terminal:
            self._console.print(Padding(shown, (0, 0, 0, 6)))
        else:
            self._console.print(Text.assemble("      ", shown), soft_wrap=True)


def print_answer(events: Iterable[Event]) -> Answer:
    """Print the events of an answer to standard output as they come."""
    return AnswerPrinter(Console(file=sys.stdout, highlight=False)).print_all(events)
