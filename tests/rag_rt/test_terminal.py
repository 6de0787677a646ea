import io
import json
import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from rag_rt import terminal
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
from rag_rt.events import Event, Finished, Grounded, Retrieved, Wrote
from rag_rt.terminal import PARTLY_MARK, STYLES, UNSUPPORTED_MARK, AnswerPrinter
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
        source = HITS[hit].passage
        assert f"  [{number}] {source.title}  {source.url}\n      “S”\n" in rest
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


def printed(events: list[Event], *, width: int = 80, terminal: bool = False) -> str:
    output = io.StringIO()
    colours: Literal["truecolor"] | None = "truecolor" if terminal else None
    console = Console(
        file=output, width=width, force_terminal=terminal, color_system=colours, highlight=False
    )
    AnswerPrinter(console).print_all(events)
    return output.getvalue()


def answer_events(
    text: str, source: str, status: Status = Status.ANSWERED, *, quotation: bool = False
) -> list[Event]:
    """One sentence that rests on the whole of one passage."""
    hit = make_hit(source, title=source)
    evidence = Evidence(hit.passage.id, 0, len(source), source, 0.9)
    supported = status is Status.ANSWERED
    support = Support.SUPPORTED if supported else Support.UNSUPPORTED
    cited = (evidence,) if supported else ()
    sentence = Sentence(0, len(text), support, cited, quotation=quotation)
    usage, timings = Usage(1, 1, FinishReason.STOP), Timings(0, 0, 0, 0, 0)
    answer = Answer("?", text, status, (sentence,), (hit,), usage, timings)
    return [Retrieved((hit,)), Wrote(text), Grounded(0, sentence), Finished(answer)]


def test_a_quotation_stands_in_quotation_marks() -> None:
    assert printed(answer_events("Salt.", "Salt.", quotation=True)).startswith("“Salt.” [1]\n")


@pytest.mark.parametrize("status", [Status.NOT_FOUND, Status.UNANSWERED])
def test_what_is_no_answer_is_only_its_words(status: Status) -> None:
    assert printed(answer_events("Nothing is said.", "Salt.", status)) == "Nothing is said.\n"


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\x1b\x9b\r\b\u202e")))
def test_no_control_character_reaches_the_terminal(foreign: str) -> None:
    events = answer_events(f"a{foreign}", f"a{foreign}")
    shown = printed(events)
    assert [c for c in shown if unicodedata.category(c) == "Cc" and c != "\n"] == []
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    finished = events[-1]
    assert isinstance(finished, Finished)
    document = terminal.answer_as_json(finished.answer)
    assert [c for c in document if unicodedata.category(c) == "Cc"] == []
    assert json.loads(document)["text"] == f"a{foreign}"


@pytest.mark.parametrize("support", Support)
@pytest.mark.parametrize("background", [0.0, 1.0])
def test_colours_can_be_read_on_light_and_dark(support: Support, background: float) -> None:
    """Contrast of at least 4.5 to 1, by WCAG's formula."""
    colour = Style.parse(STYLES[support]).color
    assert colour
    lights = (channel / 255 for channel in colour.get_truecolor())
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in lights]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    darker, lighter = sorted((luminance, background))
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_each_sentence_has_the_colour_of_its_support() -> None:
    shown = printed(events_of("Why? It is so.", [0, None], 3), terminal=True)
    colours = [
        Style.parse(STYLES[s]).render("?")[:-5] for s in (Support.SUPPORTED, Support.UNSUPPORTED)
    ]
    assert f"{colours[0]}Why?" in shown
    assert f"{colours[1]}It is so." in shown


@given(st.lists(st.sampled_from(["sea", "salty", "🧂", "water"]), min_size=1), st.integers(20, 40))
def test_on_a_terminal_lines_end_between_words(words: list[str], width: int) -> None:
    text = " ".join(words)
    shown = Text.from_ansi(printed(answer_events(text, "S"), width=width, terminal=True)).plain
    paragraph = shown.partition("\n\n")[0]
    assert paragraph.replace("\n", " ").replace("  ", " ") == f"{text} [1]"
    assert max(cell_len(line) for line in paragraph.split("\n")) <= width


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
