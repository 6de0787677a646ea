"""Official accuracy, exact match and F1 of an answer, each the best over the gold answers.

Source: `kilt/eval_downstream.py` of facebookresearch/KILT at 2664322.
"""

import re
import string
from collections import Counter
from collections.abc import Iterable

_PUNCTUATION = string.punctuation.encode()
# The same as \b(?:an?|the)\b, but begun with letters, to which the engine can jump.
_ARTICLES = re.compile(r"(?:a(?<!\wa)n?|the(?<!\wthe))\b")


def normalised_words(text: str) -> list[str]:
    """Lower-case, delete ASCII punctuation, drop articles, split at white space; in this order.

    An article counts between word boundaries, so "the\N{EM DASH}end" loses its "the".
    """
    # Of all ways to delete characters this is the fastest, by much; in UTF-8 no byte of the
    # punctuation is part of another character. JSON can hold lone surrogates.
    text_bytes = text.lower().encode("utf-8", "surrogatepass").translate(None, _PUNCTUATION)
    return _ARTICLES.sub(" ", text_bytes.decode("utf-8", "surrogatepass")).split()


def normalised(text: str) -> str:
    """Join the normalised words by single spaces."""
    return " ".join(normalised_words(text))


def exact_match_and_f1(answer: str, golds: Iterable[str]) -> tuple[int, float]:
    """Best exact match and best bag-of-words F1 over the golds; an F1 of nothing is the integer 0.

    Raises:
        ValueError: there are no golds.
    """
    words = normalised_words(answer)
    counts = Counter(words)
    golds_words = [normalised_words(gold) for gold in golds]
    return int(words in golds_words), max(_f1(counts, len(words), gold) for gold in golds_words)


def _f1(counts: Counter[str], length: int, gold_words: list[str]) -> float:
    """F1 in the official order of operations; `length` is the sum of `counts`."""
    gold_counts = Counter(gold_words)
    common = sum(min(counts[word], gold_counts[word]) for word in counts.keys() & gold_counts)
    if not common:
        return 0
    precision, recall = common / length, common / len(gold_words)
    return (2 * precision * recall) / (precision + recall)
