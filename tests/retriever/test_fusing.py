import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from retriever import fusing
from retriever.fusing import CANDIDATES, fuse

Numbers = npt.NDArray[np.float32]
# Fractions of few bits: what is equal is so exactly, however it was computed.
similarity = st.integers(-64, 64).map(lambda number: number / 64)
word_score = st.integers(0, 64).map(lambda number: number / 4)
some_candidates = st.lists(
    st.tuples(similarity, word_score, st.sampled_from("abcdefgh")), min_size=1, max_size=40
)
Candidates = list[tuple[float, float, str]]


def columns(candidates: Candidates) -> tuple[Numbers, Numbers, list[str]]:
    similarities, word_scores, pages = zip(*candidates, strict=True)
    return np.array(similarities, np.float32), np.array(word_scores, np.float32), list(pages)


@given(candidates=some_candidates, scale=st.sampled_from([0.5, 2.0, 64.0]), shift=similarity)
def test_no_unit_matters(candidates: Candidates, scale: float, shift: float) -> None:
    """Encoders have products of any size, and BM25 has greater scores for longer questions."""
    similarities, word_scores, pages = columns(candidates)
    np.testing.assert_allclose(
        fuse(similarities * np.float32(scale) + np.float32(shift), word_scores * 2, pages),
        fuse(similarities, word_scores, pages),
        atol=1e-5,
    )


@given(candidates=some_candidates, data=st.data())
def test_the_order_of_the_candidates_does_not_matter(
    candidates: Candidates, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(candidates))))
    shuffled = fuse(*columns([candidates[place] for place in order]))
    np.testing.assert_allclose(shuffled, fuse(*columns(candidates))[order], atol=1e-12)


@given(candidates=some_candidates)
def test_what_is_no_worse_in_anything_is_ranked_no_lower(candidates: Candidates) -> None:
    """Within a page; between pages, what else the page holds counts too."""
    scores = fuse(*columns(candidates))
    for (similarity, words, page), score in zip(candidates, scores, strict=True):
        for (other_similarity, other_words, other_page), other in zip(
            candidates, scores, strict=True
        ):
            if page == other_page and similarity >= other_similarity and words >= other_words:
                assert score >= other - 1e-12


@given(similarities=st.lists(similarity, min_size=1, max_size=40, unique=True))
def test_without_words_and_on_pages_of_their_own_vectors_alone_decide(
    similarities: list[float],
) -> None:
    pages = [str(number) for number in range(len(similarities))]
    scores = fuse(*columns([(s, 0.0, page) for s, page in zip(similarities, pages, strict=True)]))
    assert np.argsort(scores).tolist() == np.argsort(similarities).tolist()


def test_the_means_of_pages_are_those_of_a_plain_loop() -> None:
    order = np.random.default_rng(0)
    scores, pages = order.random(300), order.integers(0, 40, 300).astype(str).tolist()
    means = fusing._means_of_pages(scores, pages)
    for row, page in enumerate(pages):
        own = sorted((s for s, p in zip(scores, pages, strict=True) if p == page), reverse=True)
        assert np.isclose(means[row], sum(own[: fusing.OF_PAGE]) / fusing.OF_PAGE)


def test_the_worst_of_many_neighbours_does_not_stretch_the_scale() -> None:
    """Passages found by words alone may be far away."""
    near = [(0.5 + 0.25 * number / CANDIDATES, 0.0, str(number)) for number in range(CANDIDATES)]
    scores = fuse(*columns(near))
    with_far = fuse(*columns([*near, (-1.0, 0.0, "far")]))
    np.testing.assert_allclose(np.diff(with_far[:-1]), np.diff(scores), rtol=0.3)
    assert with_far[-1] < with_far[:-1].min()
