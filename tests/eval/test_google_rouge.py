"""The fast figures against the `rouge-score` package itself."""

from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from eval.google_rouge import google_rouge

SMALL_TEXT = st.text(alphabet="aabbc  \n.", max_size=40)
WORDS = st.lists(
    st.sampled_from(["running", "runs", "ran", "the", "Flies", "fly", "\n", "it\u2019s"]),
    max_size=20,
).map(" ".join)
TEXTS = st.one_of(SMALL_TEXT, WORDS, st.text(max_size=40))


@lru_cache
def package(stem: bool) -> RougeScorer:
    return RougeScorer(["rougeL", "rougeLsum"], use_stemmer=stem)


def package_figures(answer: str, golds: list[str]) -> dict[str, float]:
    figures = {}
    for suffix, stem in (("nostem", False), ("stem", True)):
        scores = [package(stem).score(gold, answer) for gold in golds]
        for kind in ("rougeL", "rougeLsum"):
            figures[f"{kind}_{suffix}"] = max(score[kind].fmeasure for score in scores)
    return figures


@settings(max_examples=400, deadline=None)
@given(answer=TEXTS, golds=st.lists(TEXTS, min_size=1, max_size=3))
def test_equal_to_the_package_to_the_last_bit(answer: str, golds: list[str]) -> None:
    assert google_rouge(answer, golds) == package_figures(answer, golds)


def test_without_golds_there_is_no_maximum() -> None:
    with pytest.raises(ValueError, match="at least one gold"):
        google_rouge("a", [])
