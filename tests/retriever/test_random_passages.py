from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.settings import Settings
from retriever.encoders import Encoder
from retriever.errors import QueryError
from retriever.index import Index
from retriever.random_passages import RandomRetriever, _permutation
from retriever.searching import Retriever

QUESTIONS = ["Why is the ocean salty?", "How do vaccines work?", "What is gold?"]


@pytest.fixture(scope="module")
def retriever(settings: Settings, encoder: Encoder) -> Retriever:
    return Retriever(Index(settings.index_directory), encoder)


def test_random_passages_are_of_other_pages_than_the_true_ones(retriever: Retriever) -> None:
    true = retriever.search_batch(QUESTIONS, 8)
    drawn = RandomRetriever(retriever, seed=0).search_batch(QUESTIONS, 8)
    for found, instead in zip(true, drawn, strict=True):
        pages = {hit.passage.page_id for hit in instead}
        assert len(pages) == 8
        assert not pages & {hit.passage.page_id for hit in found}
        assert [h.score for h in instead] == [h.score for h in found]
        assert [h.rank for h in instead] == list(range(1, 9))


def test_pages_that_are_found_or_drawn_already_are_passed_over(
    retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = QUESTIONS[0]
    _, rows = retriever.index.current().search(retriever.encoder.encode_questions([question]), 8)
    # As if the dice fell on the found passages first, then on each other one twice.
    order = [*rows[0].tolist(), *(row for row in range(0, 4000, 100) for _ in range(2))]
    monkeypatch.setattr("retriever.random_passages._permutation", lambda size, _: iter(order))
    (drawn,) = RandomRetriever(retriever, seed=0).search_batch([question], 8)
    pages = [hit.passage.page_id for hit in drawn]
    found = {hit.passage.page_id for hit in retriever.search(question, 8)}
    assert len(set(pages)) == 8
    assert not found & set(pages)


def test_a_draw_depends_on_seed_and_question_alone(retriever: Retriever) -> None:
    control = RandomRetriever(retriever, seed=0)
    together = control.search_batch(QUESTIONS, 8)
    # Scores are those of a batch of another shape, so only the passages are the same.
    for question, hits in zip(QUESTIONS, together, strict=True):
        (alone,) = control.search_batch([question], 8)
        assert [h.passage for h in alone] == [h.passage for h in hits]
    assert len({hits[0].passage.id for hits in together}) == 3
    (other,) = RandomRetriever(retriever, seed=1).search_batch(QUESTIONS[:1], 8)
    assert [h.passage for h in other] != [h.passage for h in together[0]]


def test_an_index_with_too_few_other_pages_is_an_error(
    retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retriever.random_passages._permutation", lambda size, order: range(5))
    with pytest.raises(QueryError, match=r"pages beside those that are found.*lower k"):
        RandomRetriever(retriever, seed=0).search_batch(QUESTIONS[:1], 8)


@given(size=st.integers(0, 50), seed=st.integers())
def test_a_permutation_holds_every_number_once(size: int, seed: int) -> None:
    assert sorted(_permutation(size, Random(seed))) == list(range(size))


def test_every_number_is_as_likely_to_come_first_or_second() -> None:
    order = Random(0)
    draws = [tuple(_permutation(4, order))[:2] for _ in range(12_000)]
    counts = Counter(draws)
    assert len(counts) == 12
    assert all(850 < count < 1150 for count in counts.values())
