"""What the commands print: an answer as it is written, its sources, progress."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from transformers.utils.logging import disable_progress_bar

from rag_rt.answerer import Event, Finished, Grounded, Wrote
from rag_rt.answers import Answer, FinishReason, Sentence, Status, Support
from retriever.encoders import Progress as ProgressCallback
from retriever.sentences import sentence_spans

_REMEMBERED = 3600.0  # seconds of steps from which the time left is estimated
UNSUPPORTED_MARK = "[no support]"
PARTLY_MARK = "[in part]"

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


@contextmanager
def bar(title: str) -> Iterator[ProgressCallback]:
    """A progress bar with an ETA; nothing where standard error is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
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
    """An answer as one JSON object."""
    return json.dumps(asdict(answer), ensure_ascii=False)


class AnswerPrinter:
    """Prints an answer while it comes: each finished sentence gets its citations.

    Sources are numbered by page, in the order in which they are first cited. A sentence's mark can
    only stand behind it, so the sentence after it waits until the mark is known.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._text = ""
        self._printed = 0
        self._sentences: list[Sentence] = []
        self._page_of: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def print_all(self, events: Iterable[Event]) -> Answer:
        """Print the events of an answer, then its sources; returns the answer."""
        for event in events:
            match event:
                case Wrote(text):
                    self._text += text
                    self._print_settled()
                case Grounded(_, sentence):
                    self._finish_sentence(sentence)
                case Finished(answer):
                    self._console.print("\n")
                    self._print_sources(answer)
                    return answer
                case _:
                    self._page_of = {hit.passage.id: hit.passage.page_id for hit in event.hits}
        raise AssertionError("a stream ends with Finished")

    def _print_settled(self) -> None:
        current = sentence_spans(self._text)[len(self._sentences)]
        self._print_to(current[1])

    def _print_to(self, end: int) -> None:
        if end > self._printed:
            self._console.print(Text(self._text[self._printed : end]), end="", soft_wrap=True)
            self._printed = end

    def _finish_sentence(self, sentence: Sentence) -> None:
        self._print_to(sentence.end)
        self._sentences.append(sentence)
        if sentence.support is Support.UNSUPPORTED:
            mark = Text(f" {UNSUPPORTED_MARK}", "yellow")
        else:
            pages = dict.fromkeys(self._page_of[e.passage_id] for e in sentence.evidence)
            cited = "".join(f" [{self._number(page)}]" for page in pages)
            mark = Text(cited, "green")
            if sentence.support is Support.PARTLY:
                mark.append(f" {PARTLY_MARK}", "yellow")
        self._console.print(mark, end="", soft_wrap=True)

    def _number(self, page: str) -> int:
        return self._numbers.setdefault(page, len(self._numbers) + 1)

    def _print_sources(self, answer: Answer) -> None:
        if answer.status is Status.NOT_FOUND:
            return
        pages = {hit.passage.page_id: hit.passage for hit in reversed(answer.hits)}
        if self._numbers:
            self._console.print(Text("Sources", "bold"))
        for page, number in self._numbers.items():
            line = f"  [{number}] {pages[page].title}  {pages[page].url}"
            self._console.print(Text(line), soft_wrap=True)
        if answer.usage.finish_reason is FinishReason.LENGTH:
            tokens = answer.usage.completion_tokens
            self._console.print(Text(f"The answer was cut at {tokens} tokens", "bold yellow"))
        unsupported = [s for s in answer.sentences if s.support is Support.UNSUPPORTED]
        if unsupported:
            self._console.print(Text("No support in the retrieved passages for", "bold yellow"))
        for sentence in unsupported:
            self._console.print(
                Text(f"  - {answer.text[sentence.start : sentence.end]}"), soft_wrap=True
            )


def print_answer(events: Iterable[Event]) -> Answer:
    """Print the events of an answer to standard output as they come."""
    return AnswerPrinter(Console(file=sys.stdout, highlight=False)).print_all(events)
