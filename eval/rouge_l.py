"""The official KILT ROUGE-L: the F of `rouge-l` in the PyPI package `rouge` 1.0.1, to the last bit.

It is no ratio of LCS lengths. Both texts are cut at every "."; the overlap is the number of
*distinct* words in the union, over all pairs of a gold and a guess piece, of one longest common
subsequence (LCS) of the pair: the one that this walk through the usual table t (gold words i,
guess words j) takes from its far corner: at equal words both go and the word counts; else if
t[i-1, j] > t[i, j-1] the gold word goes; else, ties included, the guess word goes.

The table is kept as bits (Crochemore et al. 2001, Hyyrö 2004): after each gold word one integer
whose bit j is zero where t[i, j] = t[i, j-1] + 1. All pieces of the guess lie side by side in that
integer with a guard bit between them, so one addition serves them all, and the walk needs no table
and no recursion: from column j it stays put or jumps to the next lower column that matches the gold
word or holds a zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

# `rouge` 1.0.1 walks recursively, outside its own `except`: measured on Python 3.11 with the
# default recursion limit and the official command line, a walk of more steps kills the whole run.
OFFICIAL_WALK_LIMIT = 986


class Span(NamedTuple):
    """The columns of one piece: start, the one after the last, and all of them as bits."""

    start: int
    stop: int
    bits: int


class Columns:
    """Several token lists laid side by side as the columns of one bit-parallel LCS table."""

    __slots__ = ("every", "masks", "spans")

    def __init__(self, pieces: Iterable[Sequence[str]]) -> None:
        """Lay the pieces out with one guard bit after each."""
        self.masks: dict[str, int] = {}
        self.spans: list[Span] = []
        self.every = 0
        start = 0
        for piece in pieces:
            stop = start + len(piece)
            for column, token in enumerate(piece, start):
                self.masks[token] = self.masks.get(token, 0) | 1 << column
            self.spans.append(Span(start, stop, (1 << stop) - (1 << start)))
            self.every |= self.spans[-1].bits
            start = stop + 1

    def rows(self, tokens: Iterable[str]) -> list[tuple[int, int]]:
        """For each row token the columns that match it, and the zero bits of the row after it."""
        every, masks = self.every, self.masks
        ones = every
        rows = []
        for token in tokens:
            matches = masks.get(token, 0)
            if matches:
                matching = ones & matches
                # A carry out of a piece ends in its guard bit, which `& every` clears again.
                ones = ((ones + matching) | (ones - matching)) & every
            rows.append((matches, ones ^ every))
        return rows


def walk(rows: Sequence[tuple[int, int]], span: Span) -> tuple[list[tuple[int, int]], int]:
    """Trace the LCS of all rows and one piece, as the module's docstring says.

    Returns:
        Its matches (row, column), last one first, and the number of steps to the table's border.
    """
    matches = []
    floor, end, row = 1 << span.start, span.stop, len(rows)
    while row:
        equal, zeros = rows[row - 1]
        below = (equal | zeros) & ((1 << end) - floor)
        if not below:
            end = span.start
            break
        row -= 1
        end = below.bit_length()
        if equal >> (end - 1) & 1:
            end -= 1
            matches.append((row, end))
    return matches, len(rows) - row + span.stop - end - len(matches)


class RougeText:
    """A text as the `rouge` package splits it: at dots, then at white space.

    A piece of white space alone is kept, as the one word "". Most golds are ruled out by their
    vocabulary, so words and columns of each piece are made when they are asked for.
    """

    __slots__ = ("_columns", "_pieces", "_raw_pieces", "vocabulary")

    def __init__(self, text: str) -> None:
        """Split the text at dots; `vocabulary` holds its distinct words."""
        self._raw_pieces = [piece for piece in text.split(".") if piece]
        self.vocabulary = set(" ".join(self._raw_pieces).split())
        if any(map(str.isspace, self._raw_pieces)):
            self.vocabulary.add("")
        self._pieces: list[list[str]] | None = None
        self._columns: Columns | None = None

    @property
    def pieces(self) -> list[list[str]]:
        """The words of each piece."""
        if self._pieces is None:
            self._pieces = [piece.split() or [""] for piece in self._raw_pieces]
        return self._pieces

    @property
    def columns(self) -> Columns:
        """The pieces as the columns of an LCS table."""
        if self._columns is None:
            self._columns = Columns(self.pieces)
        return self._columns

    @property
    def most_words(self) -> int:
        """A bound on the words of any piece: there is a space between two of them."""
        return (max(map(len, self._raw_pieces), default=0) + 1) // 2


def _overlap(guess: RougeText, gold: RougeText, shared: int) -> int:
    """Distinct words in the union of the traced LCSs; never more than `shared`."""
    columns = guess.columns
    masks = columns.masks
    union: set[str] = set()
    for piece in gold.pieces:
        # A word that the guess lacks changes no row. It can send the walk to an earlier guess word,
        # but only across columns where t does not grow, and from either end of such a stretch the
        # walk takes the same gold words (by induction over the rows).
        words = [word for word in piece if word in masks]
        new = _columns_outside(union, words, masks)
        rows = columns.rows(words) if new else []
        for span in columns.spans:
            # Without a new word in common the walk could add nothing.
            if new & span.bits:
                before = len(union)
                union.update([words[row] for row, _ in walk(rows, span)[0]])
                if len(union) > before:
                    new = _columns_outside(union, words, masks)
        if len(union) == shared:
            break
    return len(union)


def _columns_outside(union: set[str], words: Iterable[str], masks: Mapping[str, int]) -> int:
    """The columns of the words that are not in the union, as bits."""
    columns = 0
    for word in words:
        if word not in union:
            columns |= masks[word]
    return columns


def _f_measure(overlap: int, guess: RougeText, gold: RougeText) -> float:
    """`rouge` 1.0.1's F in its order of operations; with its 1e-8 a perfect match is below 1."""
    recall = overlap / len(gold.vocabulary)
    precision = overlap / len(guess.vocabulary)
    return 2.0 * ((precision * recall) / (precision + recall + 1e-8))


def rouge_l(guess: RougeText, gold: RougeText) -> float:
    """The official ROUGE-L of two texts; 0.0 where one of them is made of dots alone."""
    return max_rouge_l(guess, (gold,))


def max_rouge_l(guess: RougeText, golds: Iterable[RougeText]) -> float:
    """The highest official ROUGE-L of a guess against any of the golds.

    The words that both texts hold bound the overlap, and F grows with the overlap, so golds are
    tried from the highest bound down until no bound is above the best value found.

    Raises:
        ValueError: there are no golds.
    """
    bounds: list[tuple[float, int, RougeText]] = []
    for gold in golds:
        shared = len(guess.vocabulary & gold.vocabulary)
        bounds.append((_f_measure(shared, guess, gold) if shared else 0.0, shared, gold))
    if not bounds:
        raise ValueError("max_rouge_l needs at least one gold text")
    bounds.sort(key=lambda bound: bound[0], reverse=True)
    best = 0.0
    for bound, shared, gold in bounds:
        if bound <= best:
            break
        best = max(best, _f_measure(_overlap(guess, gold, shared), guess, gold))
    return best


def kills_official_scorer(guess: RougeText, golds: Iterable[RougeText]) -> bool:
    """Whether one of the official recursive walks is deeper than Python's default limit allows."""
    for gold in golds:
        if guess.most_words + gold.most_words <= OFFICIAL_WALK_LIMIT:
            continue
        for piece in gold.pieces:
            rows = guess.columns.rows(piece)
            if any(walk(rows, span)[1] > OFFICIAL_WALK_LIMIT for span in guess.columns.spans):
                return True
    return False
