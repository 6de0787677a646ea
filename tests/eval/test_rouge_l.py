"""The bit-parallel ROUGE-L against the `rouge` package that the official scorer calls."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge import Rouge

from eval.rouge_l import RougeText, kills_official_scorer, max_rouge_l, rouge_l

PACKAGE = Rouge(metrics=["rouge-l"])
# Few words and many dots make ties, empty pieces and dots-only texts common.
SMALL_TEXT = st.text(alphabet="aabbc ..\n", min_size=1, max_size=60)
ODD_TEXT = st.text(
    alphabet=st.sampled_from([*"ab.", " ", "\t", "\r", "\x1c", "\u00a0", "\u2028", "\u200b", "é"]),
    min_size=1,
    max_size=40,
)
ANY_TEXT = st.text(min_size=1, max_size=80)
TEXTS = st.one_of(SMALL_TEXT, ODD_TEXT, ANY_TEXT)


def package_rouge_l(guess: str, gold: str) -> float:
    """What the official scorer makes of the package, its caught ValueError included."""
    try:
        figure: float = PACKAGE.get_scores(guess, gold, avg=True)["rouge-l"]["f"]
    except ValueError:
        return 0.0
    return figure


def best(guess: str, golds: list[str]) -> float:
    return max_rouge_l(RougeText(guess), map(RougeText, golds))


@contextmanager
def unlimited_recursion() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def deepest_package_walk(guess: str, gold: str) -> int:
    """Recursive steps of the package's longest walk: its nested `_recon` frames but the first."""
    depth = deepest = 0

    def count(frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal depth, deepest
        if frame.f_code.co_name == "_recon":
            depth += {"call": 1, "return": -1}.get(event, 0)
            deepest = max(deepest, depth)

    with unlimited_recursion():
        sys.setprofile(count)
        try:
            package_rouge_l(guess, gold)
        finally:
            sys.setprofile(None)
    return deepest - 1


@settings(max_examples=1500)
@given(guess=TEXTS, gold=TEXTS)
def test_equal_to_the_package_to_the_last_bit(guess: str, gold: str) -> None:
    assert rouge_l(RougeText(guess), RougeText(gold)) == package_rouge_l(guess, gold)


@settings(max_examples=400)
@given(guess=SMALL_TEXT, golds=st.lists(SMALL_TEXT, min_size=1, max_size=6))
def test_the_pruned_maximum_is_the_maximum(guess: str, golds: list[str]) -> None:
    assert best(guess, golds) == max(package_rouge_l(guess, gold) for gold in golds)


@given(guess=SMALL_TEXT, golds=st.permutations(["a b. c", "c b a", "a. a b c b", "...", "b . c"]))
def test_the_order_of_golds_does_not_matter(guess: str, golds: list[str]) -> None:
    assert best(guess, golds) == best(guess, sorted(golds))


def test_ties_drop_the_guess_word() -> None:
    # "x y" and "y x" share one word either way. The official walk drops the guess's x and takes
    # y, so a second piece "x" adds a word to the union and a second piece "y" adds none.
    gold = RougeText("x y")
    assert rouge_l(RougeText("y x.x"), gold) == package_rouge_l("y x.x", "x y") == 0.999999995
    assert rouge_l(RougeText("y x.y"), gold) == package_rouge_l("y x.y", "x y") < 0.5


def test_a_perfect_match_is_below_one() -> None:
    assert rouge_l(RougeText("a b c"), RougeText("a b c")) == 0.999999995


def test_dots_alone_score_zero_and_a_blank_piece_is_a_word() -> None:
    assert rouge_l(RougeText("..."), RougeText("...")) == 0.0
    assert rouge_l(RougeText(". . ."), RougeText("Well. . . maybe")) > 0


def test_without_golds_there_is_no_maximum() -> None:
    with pytest.raises(ValueError, match="at least one gold"):
        best("a", [])


@pytest.mark.parametrize(
    ("guess_words", "gold_words", "deadly"),
    [
        (986, ["y"], False),
        (987, ["y"], True),
        (1, ["y"] * 2000, False),
        (986, ["x"] * 986, False),
        (987, ["x"] * 987, True),
    ],
)
def test_walks_deeper_than_the_limit_are_deadly(
    guess_words: int, gold_words: list[str], deadly: bool
) -> None:
    guess, gold = RougeText("x " * guess_words), RougeText(" ".join(gold_words))
    assert kills_official_scorer(guess, [RougeText("short"), gold]) is deadly


@settings(max_examples=60, deadline=None)
@given(
    guess=st.text(alphabet="aabc .", min_size=1, max_size=60),
    gold=st.text(alphabet="aabc .", min_size=1, max_size=60),
)
def test_steps_are_the_recursive_calls_of_the_package(guess: str, gold: str) -> None:
    expected = deepest_package_walk(guess, gold)
    texts = RougeText(guess), [RougeText(gold)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eval.rouge_l.OFFICIAL_WALK_LIMIT", expected)
        assert not kills_official_scorer(*texts)
        patch.setattr("eval.rouge_l.OFFICIAL_WALK_LIMIT", expected - 1)
        assert kills_official_scorer(*texts) is (expected >= 1)


def test_values_beyond_the_limit_are_those_of_unlimited_recursion() -> None:
    guess, gold = "x y z " * 500, "z y x w " * 300
    with unlimited_recursion():
        assert rouge_l(RougeText(guess), RougeText(gold)) == package_rouge_l(guess, gold)
