import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rag_rt.answerable import ANSWERABLE, NAMES, answer_probability, load_model, measure
from rag_rt.evidence import EvidencePool
from rag_rt.requests import Request
from rag_rt.settings import Settings
from retriever import Hit, Passage
from retriever.encoders import Encoder
from retriever.index import Index
from retriever.searching import Retriever

PASSAGES = (
    ("Hamlet", "Hamlet is a tragedy that William Shakespeare wrote between 1599 and 1601."),
    ("Stevia", "Stevia is a sweetener. It comes from the leaves of a plant native to Brazil."),
)


@pytest.fixture(scope="module")
def retriever(settings: Settings, encoder: Encoder) -> Retriever:
    return Retriever(Index(settings.index_directory), encoder)


def chance(question: str, retriever: Retriever, encoder: Encoder) -> float:
    hits = retriever.search(question, Request.k)
    return answer_probability(EvidencePool.gather(question, hits, encoder))


def made_pool(question: str, encoder: Encoder, texts: tuple[tuple[str, str], ...]) -> EvidencePool:
    vectors = encoder.encode([question, *(f"{title}\n{text}" for title, text in texts)])
    hits = [
        Hit(Passage(title, title, title, text, "", 0, len(text)), float(score), rank, float(score))
        for rank, ((title, text), score) in enumerate(
            zip(texts, vectors[1:] @ vectors[0], strict=True), start=1
        )
    ]
    return EvidencePool.gather(question, hits, encoder)


@pytest.mark.parametrize(
    "question",
    [
        "What is photosynthesis?",
        "photosynthesis",
        "How do volcanoes erupt?",
        "Explain the theory of plate tectonics.",
        "Who was Johann Sebastian Bach?",
        "why is the sky blue",
        "What caused the French Revolution?",
    ],
)
def test_what_the_corpus_tells_is_answered(
    question: str, retriever: Retriever, encoder: Encoder
) -> None:
    assert chance(question, retriever, encoder) >= ANSWERABLE


@pytest.mark.parametrize(
    "question",
    [
        "Почему океан солёный?",
        "海はなぜ塩辛いのですか",
        "blorptastic zizzlewump snarf",
        "What did my aunt Gertrude cook for dinner yesterday?",
        "Why did Sarah not reply to my message?",
        "???",
    ],
)
def test_what_no_corpus_tells_is_not_answered(
    question: str, retriever: Retriever, encoder: Encoder
) -> None:
    assert chance(question, retriever, encoder) < ANSWERABLE


@pytest.mark.parametrize(
    ("answered", "changed"),
    [
        ("Who wrote Hamlet?", "Who wrote Velmora?"),
        ("Which plant does stevia come from?", "Which plant does quorlan come from?"),
        ("When was Hamlet written?", "When was Hamlet written in 3021?"),
        ("Where is stevia native to?", "Where is the Eiffel Tower?"),
    ],
)
def test_a_name_or_number_that_no_passage_holds_makes_an_answer_less_likely(
    answered: str, changed: str, encoder: Encoder
) -> None:
    before, after = (
        answer_probability(made_pool(question, encoder, PASSAGES))
        for question in (answered, changed)
    )
    assert after < before


@pytest.mark.parametrize(
    ("question", "words", "year"),
    [
        ("Shakespeare, the tragedy Hamlet, 1601", 0, 0),
        ("Shakespeare, the tragedy Zorblatt, 1601", 1, 0),
        ("Shakespeare, the tragedy Hamlet, 1602", 1, 1),
    ],
)
def test_words_and_years_that_no_passage_holds_are_counted(
    question: str, words: int, year: int, encoder: Encoder
) -> None:
    features = dict(zip(NAMES, measure(made_pool(question, encoder, PASSAGES)), strict=True))
    assert (features["missing_words"], features["missing_years"]) == (words, year)


@hypothesis_settings(max_examples=25)  # each encodes its texts
@given(
    question=st.text(min_size=1, max_size=60),
    texts=st.lists(st.tuples(st.text(max_size=10), st.text(max_size=60)), min_size=1, max_size=3),
)
def test_any_text_has_a_probability(
    question: str, texts: list[tuple[str, str]], encoder: Encoder
) -> None:
    pool = made_pool(question, encoder, tuple(texts))
    assert 0 <= answer_probability(pool) <= 1


def test_passages_without_a_sentence_answer_nothing(encoder: Encoder) -> None:
    assert answer_probability(made_pool("Who wrote Hamlet?", encoder, (("Hamlet", " "),))) == 0


def test_the_shipped_coefficients_are_those_of_the_features() -> None:
    assert load_model().coefficients.shape == (len(NAMES),)
