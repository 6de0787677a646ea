"""ROUGE-L and ROUGE-Lsum of the `rouge-score` package, fast. They are *not* KILT's ROUGE-L.

Tokens, stemmer and F come from the package; only its quadratic tables are replaced, by the
bit-parallel rows of `eval.rouge_l`. The two walks through the table are the same one seen from two
sides: the package drops a gold token on ties, so here golds are columns and the guess is the rows.
Values are those of the package to the last bit.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from nltk.stem.porter import PorterStemmer  # type: ignore[import-untyped]
from rouge_score import tokenize
from rouge_score.scoring import fmeasure

from eval.rouge_l import Columns, walk

GOOGLE_ROUGE = ("rougeL_nostem", "rougeLsum_nostem", "rougeL_stem", "rougeLsum_stem")

# Distinct words of a large answer file; stemming is most of the cost without a memory of it.
_REMEMBERED_STEMS = 1 << 16


class _RememberingStemmer:
    """The package's stemmer, asked once for each word."""

    def __init__(self) -> None:
        """Start with an empty memory."""
        self.stem: Callable[[str], str] = lru_cache(_REMEMBERED_STEMS)(PorterStemmer().stem)


_STEMMER = _RememberingStemmer()


class _Tokens:
    """A text's tokens, whole and line by line, as `rougeL` and `rougeLsum` see them."""

    def __init__(self, text: str, stemmer: _RememberingStemmer | None) -> None:
        """Tokenise each line, stemming the tokens if there is a stemmer."""
        self.lines: list[list[str]] = [
            tokenize.tokenize(line, stemmer) for line in text.split("\n") if line
        ]
        self.all: list[str] = [token for line in self.lines for token in line]
        self.counts = Counter(self.all)


def google_rouge(answer: str, golds: Sequence[str]) -> dict[str, float]:
    """The four figures of one answer, each the best over the golds.

    Raises:
        ValueError: there are no golds.
    """
    if not golds:
        raise ValueError("google_rouge needs at least one gold text")
    figures: dict[str, float] = {}
    for suffix, stemmer in (("nostem", None), ("stem", _STEMMER)):
        guess = _Tokens(answer, stemmer)
        bounded = sorted(
            ((_bound(guess, gold), gold) for gold in (_Tokens(text, stemmer) for text in golds)),
            key=lambda pair: pair[0],
            reverse=True,
        )
        figures[f"rougeL_{suffix}"] = _best(_lcs_length, guess, bounded)
        figures[f"rougeLsum_{suffix}"] = _best(_union_lcs_hits, guess, bounded)
    return figures


def _bound(guess: _Tokens, gold: _Tokens) -> float:
    """The F that neither figure can exceed: as if all tokens in common were hits."""
    return _f_measure((guess.counts & gold.counts).total(), guess, gold)


def _best(
    hits: Callable[[_Tokens, _Tokens], int],
    guess: _Tokens,
    bounded: Sequence[tuple[float, _Tokens]],
) -> float:
    """Highest F over the golds, which come by falling bound; hopeless ones are not compared."""
    best: float = 0
    for bound, gold in bounded:
        if bound <= best:
            break
        best = max(best, _f_measure(hits(guess, gold), guess, gold))
    return best


def _f_measure(hits: int, guess: _Tokens, gold: _Tokens) -> float:
    if not guess.all or not gold.all:
        return 0
    value: float = fmeasure(hits / len(guess.all), hits / len(gold.all))
    return value


def _lcs_length(guess: _Tokens, gold: _Tokens) -> int:
    zeros = Columns([gold.all]).rows(guess.all)[-1][1]
    return zeros.bit_count()


def _union_lcs_hits(guess: _Tokens, gold: _Tokens) -> int:
    """Gold tokens in the union of the LCSs with each guess line, none oftener than in the guess."""
    if len(guess.lines) == len(gold.lines) == 1:
        return _lcs_length(guess, gold)
    columns = Columns(gold.lines)
    found: set[int] = set()
    for line in guess.lines:
        rows = columns.rows(line)
        for span in columns.spans:
            found.update(column for _, column in walk(rows, span)[0])
    tokens = [token for line in gold.lines for token in (*line, "")]
    return (Counter(tokens[column] for column in found) & guess.counts).total()
