import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rag_rt import terminal
from rag_rt.answerer import Event, Finished, Grounded, Retrieved, Wrote
from rag_rt.answers import (
    Answer,
    Evidence,
    FinishReason,
    Sentence,
    Status,
    Support,
    Timings,
    Usage,
)
from rag_rt.terminal import PARTLY_MARK, UNSUPPORTED_MARK, AnswerPrinter
from retriever.sentences import finished_spans, sentence_spans
from tests.conftest import make_hit

HITS = (make_hit("Sea.", title="Sea"), make_hit("Salt.", title="Salt", rank=2))
sentences = st.sampled_from(["The sea is salty.", "Dr. Wu said so.", "Why?", "It is 3.5 % salt."])


def events_of(text: str, cited: list[int | None], cut: int) -> list[Event]:
    """The events that the pipeline gives for a text that comes in pieces of `cut` characters."""
    events: list[Event] = [Retrieved(HITS)]
    grounded: list[Sentence] = []

    def ground(spans: list[tuple[int, int]]) -> None:
        for start, end in spans[len(grounded) :]:
            hit = cited[len(grounded)]
            passage = None if hit is None else HITS[hit].passage
            evidence = () if passage is None else (Evidence(passage.id, 0, 1, "S", 0.9),)
            support = Support.SUPPORTED if evidence else Support.UNSUPPORTED
            grounded.append(Sentence(start, end, support, evidence))
            events.append(Grounded(len(grounded) - 1, grounded[-1]))

    for first in range(0, len(text), cut):
        events.append(Wrote(text[first : first + cut]))
        ground(finished_spans(text[: first + cut]))
    ground(sentence_spans(text))
    usage = Usage(1, 1, FinishReason.STOP)
    timings = Timings(0, 0, 0, 0, 0)
    answer = Answer("?", text, Status.ANSWERED, tuple(grounded), HITS, usage, timings)
    return [*events, Finished(answer)]


@given(
    st.lists(st.tuples(sentences, st.sampled_from([None, 0, 1])), min_size=1, max_size=6),
    st.integers(1, 9),
)
def test_each_sentence_is_printed_whole_with_its_mark_behind_it(
    marked: list[tuple[str, int | None]], cut: int
) -> None:
    text = " ".join(sentence for sentence, _ in marked)
    output = io.StringIO()
    printer = AnswerPrinter(Console(file=output, width=80))
    printer.print_all(events_of(text, [hit for _, hit in marked], cut))
    numbers: dict[int, int] = {}
    expected = []
    for sentence, hit in marked:
        mark = UNSUPPORTED_MARK if hit is None else f"[{numbers.setdefault(hit, len(numbers) + 1)}]"
        expected.append(f"{sentence} {mark}")
    paragraph, _, rest = output.getvalue().partition("\n\n")
    assert paragraph == " ".join(expected)
    for hit, number in numbers.items():
        assert f"  [{number}] {HITS[hit].passage.title}  {HITS[hit].passage.url}" in rest
    unsupported = [sentence for sentence, hit in marked if hit is None]
    assert rest.count("  - ") == len(unsupported)


def test_a_sentence_supported_in_part_is_marked_so_behind_its_source() -> None:
    quote = Evidence(HITS[0].passage.id, 0, 1, "S", 0.9)
    sentence = Sentence(0, 7, Support.PARTLY, (quote,), 0.5)
    output = io.StringIO()
    printer = AnswerPrinter(Console(file=output, width=80))
    events = events_of("Why so?", [0], 9)
    printer.print_all(Grounded(0, sentence) if isinstance(e, Grounded) else e for e in events)
    assert output.getvalue().startswith(f"Why so? [1] {PARTLY_MARK}\n")


def test_the_bar_tells_the_time_left_of_batches_that_take_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """rich alone forgets steps that are half a minute old, and then tells none."""
    now = [0.0]
    screen = io.StringIO()
    monkeypatch.setattr(
        terminal,
        "messages",
        Console(file=screen, force_terminal=True, width=120, get_time=lambda: now[0]),
    )
    with terminal.bar("Answering") as progress:
        for step in range(4):
            now[0] = 120.0 * step
            progress(step, 10)
        now[0] += 1
    assert "0:14:00" in screen.getvalue()
