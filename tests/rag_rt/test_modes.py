"""How a paragraph comes about: from a real model, and from a scripted one that invents at will."""

from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.answerer import Answerer
from rag_rt.answers import Answer, Evidence, FinishReason, Sentence, Status, Support
from rag_rt.choosing import Sampling
from rag_rt.events import Finished, Wrote
from rag_rt.generation import Generation, Generator
from rag_rt.modes.grounded import GroundedWriter, Rules, written_again
from rag_rt.modes.paragraph import Paragraph
from rag_rt.prompting import RewriteForm
from rag_rt.requests import Mode, Request
from retriever.sentences import ends_whole
from tests.tiny_models import make_chat

FIRST = Sampling(seed=0)
AGAIN = written_again(FIRST)
ORIGINAL = "Most of the salt was carried from rocks by old rivers that are gone."
QUOTES = ("Salt is a mineral.", "Rivers carry salt into the ocean.")


class Script:
    """A generation that says what it is told to, one word a turn: a first text, then others.

    Each rewinding makes it go on with the next continuation. `samplings` are those it was given.
    """

    def __init__(self, *continuations: str, cut: bool = False) -> None:
        self.text = ""
        self.samplings: list[Sampling | None] = []
        self.finish_reason = FinishReason.LENGTH if cut else FinishReason.STOP
        self._continuations = list(continuations)
        self._left = self._pieces()

    @property
    def ended(self) -> bool:
        return not self._left

    def advance(self) -> str:
        piece = self._left.pop(0)
        self.text += piece
        return piece

    def rewind(self, length: int, sampling: Sampling | None = None) -> None:
        begun = self.text[length:] + "".join(self._left)
        self.samplings.append(sampling)
        self.text = self.text[:length]
        # Only what is chosen otherwise comes out otherwise.
        self._left = self._pieces() if sampling in AGAIN else _words(begun)

    def insert(self, text: str) -> None:
        self.text += text
        self._left = self._pieces() if self._continuations else []

    def _pieces(self) -> list[str]:
        return _words(self._continuations.pop(0)) if self._continuations else []


def _words(text: str) -> list[str]:
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])] if text else []


def ground(text: str, start: int, end: int) -> Sentence:
    """Supports sentences about salt, each by itself; two of them where it says "and"."""
    said = text[start:end]
    if "salt" not in said.lower():
        return Sentence(start, end, Support.UNSUPPORTED, (), 0.0)
    quotes = [ORIGINAL] if "carried" in said else said.split(" and ")
    evidence = tuple(Evidence("p", 0, len(quote), quote, 1.0) for quote in quotes)
    return Sentence(start, end, Support.SUPPORTED, evidence, 1.0)


def written(script: Script, quotes: Sequence[str] = QUOTES) -> list[str]:
    """The sentences of the paragraph that comes of a script."""
    paragraph = Paragraph(ground)
    rules = Rules(FIRST, AGAIN, tuple(quotes), closely=True, titles={"p": "Ocean"})
    told = ""
    for event in GroundedWriter(cast("Generation", script), paragraph, rules).turns():
        told += event.text if isinstance(event, Wrote) else ""
    assert told == paragraph.text
    return [paragraph.text[s.start : s.end] for s in paragraph.sentences]


def test_supported_sentences_stay_as_they_were_written() -> None:
    script = Script("Salt is white. The ocean holds salt.")
    assert written(script) == ["Salt is white.", "The ocean holds salt."]
    assert script.samplings == []


def test_an_invention_is_written_again_and_the_rest_as_at_first() -> None:
    script = Script("Salt is white. Emperor Titus sold it. More.", " He sold salt. Salt is cheap.")
    assert written(script) == ["Salt is white.", "He sold salt.", "Salt is cheap."]
    assert script.samplings == [AGAIN[0], FIRST]


def test_what_stays_unsupported_gives_way_to_a_quotation_and_is_forgotten() -> None:
    script = Script("Emperor Titus sold it.", "Empress Titia sold it.", " The sea is salt.")
    assert written(script) == ["Salt is a mineral.", "The sea is salt."]
    assert "Titus" not in script.text
    assert "Titia" not in script.text


def test_it_ends_where_nothing_supported_is_left_to_say() -> None:
    script = Script("Gold.", "Gold is.", " Gold was.", " Gold will.", " Go.", " Gone.", " Oh.")
    assert written(script) == list(QUOTES)


def test_nothing_is_said_twice() -> None:
    script = Script("Salt is a mineral. A mineral is salt.", " Mineral salt.", " Salt is white.")
    assert written(script) == [QUOTES[0], QUOTES[1], "Salt is white."]


@pytest.mark.parametrize(
    ("copy", "kept"),
    [
        ("Most of the salt was carried from rocks by old rivers.", True),
        ("Most of the salt in the ocean was carried from rocks.", True),  # as the title says
        ("Most of the salt was carried from rocks by rivers of salt.", False),
        ("Most of the salt was carried from mines by old rivers.", False),
        ("People mined and carried salt at all times, for soup, meat and fish.", True),
    ],
)
def test_a_copy_keeps_to_the_words_of_its_source(copy: str, kept: bool) -> None:
    script = Script(copy, "Salt is white.")
    assert written(script) == [copy if kept else "Salt is white."]


def test_a_sentence_that_joins_two_of_the_passages_is_not_kept() -> None:
    script = Script("Salt is white and salt is cheap.", "Salt is cheap.")
    assert written(script) == ["Salt is cheap."]


def test_a_sentence_that_was_cut_is_left_out_unless_it_is_the_only_one() -> None:
    assert written(Script("Salt is white. Rivers carry the salt of", cut=True)) == [
        "Salt is white."
    ]
    assert written(Script("Rivers carry the salt of", cut=True)) == [QUOTES[0]]
    script = Script("Rivers carry", "Rivers carry the salt of", cut=True)
    assert written(script, quotes=()) == ["Rivers carry the salt of"]


def test_a_sentence_that_the_model_ended_gets_its_full_stop() -> None:
    assert written(Script("Salt is white", "")) == ["Salt is white."]


def test_without_quotes_the_first_sentence_is_told_with_its_label() -> None:
    assert written(Script("Gold.", "Gold is."), quotes=()) == ["Gold is."]


@given(st.lists(st.lists(st.sampled_from(["Salt", "gold", "is", "was.", "and"]), max_size=9)))
def test_whatever_is_written_each_sentence_is_supported_and_whole(texts: list[list[str]]) -> None:
    script = Script(*(" ".join(words) for words in texts))
    for sentence in written(script):
        assert ground(sentence, 0, len(sentence)).support is Support.SUPPORTED
        assert ends_whole(sentence)


@pytest.fixture(scope="module")
def babbler(answerer: Answerer, tmp_path_factory: pytest.TempPathFactory) -> Answerer:
    """The real pipeline around a model with random weights."""
    folder = tmp_path_factory.mktemp("models") / "babbler"
    generator = Generator(make_chat(folder), "babbler")
    return Answerer(answerer.retriever, generator, RewriteForm(), min_relevance=None)


def test_a_model_that_babbles_ends_up_quoting(babbler: Answerer) -> None:
    answer = babbler.answer(Request("Why is the ocean salty?", max_tokens=600))
    assert answer.sentences
    assert all(sentence.quotation for sentence in answer.sentences)
    assert {sentence.support for sentence in answer.sentences} == {Support.SUPPORTED}


def test_freely_it_babbles_and_is_told_so(babbler: Answerer) -> None:
    answer = babbler.answer(Request("Why is the ocean salty?", max_tokens=60, mode=Mode.FREE))
    assert answer.text
    assert all(s.support is Support.UNSUPPORTED for s in answer.sentences)


def test_extracts_are_quotations_in_reading_order(answerer: Answerer) -> None:
    answer = answerer.answer(Request("Why is the ocean salty?", mode=Mode.EXTRACTIVE))
    assert answer.status is Status.ANSWERED
    assert all(sentence.quotation for sentence in answer.sentences)
    ranks = {hit.passage.id: hit.rank for hit in answer.hits}
    places = [(ranks[s.evidence[0].passage_id], s.evidence[0].start) for s in answer.sentences]
    assert places == sorted(places)
    few = answerer.answer(Request("Why is the ocean salty?", mode=Mode.EXTRACTIVE, max_tokens=60))
    assert 0 < few.usage.completion_tokens <= 60
    assert answer.text.startswith(few.text.split(". ")[0])


def test_a_hot_model_is_held_to_its_sources(answerer: Answerer) -> None:
    request = Request("How do vaccines work?", temperature=1.5, seed=7, max_tokens=120)
    answer = answerer.answer(request)
    assert answer.sentences
    assert {s.support for s in answer.sentences} == {Support.SUPPORTED}
    assert ends_whole(answer.text)
    free = answerer.answer(
        Request("How do vaccines work?", temperature=1.5, seed=7, max_tokens=120, mode=Mode.FREE)
    )
    assert {s.support for s in free.sentences} != {Support.SUPPORTED}


def test_answers_written_together_are_those_written_alone(answerer: Answerer) -> None:
    requests = [
        Request("Why is the ocean salty?", max_tokens=60),
        Request("How do vaccines work?", max_tokens=60, temperature=1.0, seed=5),
        Request("What is democracy?", max_tokens=60, mode=Mode.FREE),
        Request("How is steel made?", mode=Mode.EXTRACTIVE),
    ]
    alone = [answerer.answer(request) for request in requests]
    streams = {n: answerer.turns(request) for n, request in enumerate(requests)}
    together: dict[int, Answer] = {}
    while streams:
        for number, turns in list(streams.items()):
            event = next(turns)
            if isinstance(event, Finished):
                together[number] = event.answer
                del streams[number]
    for number, answer in enumerate(alone):
        assert (together[number].text, together[number].sentences) == (
            answer.text,
            answer.sentences,
        )


def test_what_the_passages_do_not_answer_is_told_so(answerer: Answerer) -> None:
    question = "Who won the chess world championship in the year 3021?"
    for mode in (Mode.GROUNDED, Mode.EXTRACTIVE):
        answer = answerer.answer(Request(question, mode=mode))
        assert answer.status is Status.UNANSWERED
        assert answer.hits[0].passage.title in answer.text
        assert [s.support for s in answer.sentences] == [Support.UNSUPPORTED]
    free = answerer.answer(Request(question, mode=Mode.FREE, max_tokens=20))
    assert free.status is Status.ANSWERED
