"""Exact match and F1 against a slow reading of their definition."""

import re
import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.answer_metrics import exact_match_and_f1, normalised

WORDY = st.text(alphabet="aAnthe b.,'_-\u2019\u2014\n\t\u00a0", max_size=40)
TEXTS = st.one_of(WORDY, st.text(max_size=40))


def slow_words(text: str) -> list[str]:
    """Character by character: lower, delete punctuation, articles to spaces, split."""
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def slow_f1(guess: str, gold: str) -> float:
    guess_words, gold_words = slow_words(guess), slow_words(gold)
    common = sum((Counter(guess_words) & Counter(gold_words)).values())
    if common == 0:
        return 0
    precision, recall = 1.0 * common / len(guess_words), 1.0 * common / len(gold_words)
    return (2 * precision * recall) / (precision + recall)


@given(text=TEXTS)
def test_normalisation_is_its_definition(text: str) -> None:
    assert normalised(text) == " ".join(slow_words(text))


@given(guess=TEXTS, golds=st.lists(TEXTS, min_size=1, max_size=4))
def test_each_metric_is_its_own_maximum(guess: str, golds: list[str]) -> None:
    match, f1 = exact_match_and_f1(guess, golds)
    assert match == max(slow_words(guess) == slow_words(gold) for gold in golds)
    assert f1 == max(slow_f1(guess, gold) for gold in golds)


@pytest.mark.parametrize(
    ("guess", "gold", "match"),
    [
        ("...", "The", 1),  # both are nothing
        ("e-mail", "email", 1),  # punctuation leaves no space
        ("the\u2014end", "\u2014end", 1),  # an article between word boundaries
        ("it\u2019s", "its", 0),  # only ASCII punctuation goes
        ("theatre", "atre", 0),
    ],
)
def test_exact_match(guess: str, gold: str, match: int) -> None:
    assert exact_match_and_f1(guess, [gold])[0] == match


def test_lone_surrogates_which_json_can_hold_are_characters() -> None:
    assert normalised("The \ud800 B.") == "\ud800 b"


def test_an_f1_of_nothing_is_an_integer() -> None:
    assert repr(exact_match_and_f1("x", ["y"])[1]) == "0"


def test_without_golds_there_is_no_maximum() -> None:
    with pytest.raises(ValueError, match="empty"):
        exact_match_and_f1("x", [])
