"""Numbers, dates, names and negations of a claim that its evidence does not hold.

Similarity hardly moves when "1912" becomes "1921" or "is" becomes "is not"; these checks look for
nothing else.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from rag_rt.words import content_words, numbers, stems

_WORD_NUMBERS = {
    word: str(value)
    for value, word in enumerate(
        "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen twenty".split(),
        start=2,
    )
}
_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)?")
_LETTERS = re.compile(r"[^\W_]+")  # "Em's" holds "Em"
_MID_SENTENCE_NAME = re.compile(
    r"""(?:
        (?<=[^\W_][,;:)]\s) | (?<=[^\W_]\s)    # a word of the same sentence goes before it
    ) [A-Z][^\W_]+""",
    re.VERBOSE,
)
_OPENERS = frozenset("Unlike Like Since Although Today According In".split())
_FIRST_NAME = re.compile(r"^\W*([A-Z][^\W_]+)(?=\s[A-Z][^\W\d_])")  # "Titus Ulpian ruled"
_NEGATIONS = frozenset("not never neither nor cannot".split())
_REACH = 1  # content words after a negation that it is taken to deny
_SAME_STATEMENT = 0.6  # share of a claim's words from which a quote says, or denies, the same
_COMPANY = 2  # content words on each side that tell whether two texts speak of the same
_LONGEST_NAME = 3  # words in the place of which others may stand
_SHARED_BEGINNING = 4  # letters; "German" is in evidence that says "Germany"


_Stems = dict[str, set[str]]


@dataclass(frozen=True, slots=True)
class Mismatches:
    """What a claim says and its evidence does not, as written in the claim's words."""

    numbers: frozenset[str]
    names: frozenset[str]
    negated: frozenset[str]
    """Stems that one of the two denies and the other does not."""

    def __bool__(self) -> bool:
        return bool(self.numbers or self.names or self.negated)


def mismatches(claim: str, evidence: str, quote: str) -> Mismatches:
    """Compare a claim with what it is said to rest on.

    Args:
        claim: the words of the answer.
        evidence: where its numbers and names may stand: the quotes, their neighbours and titles.
        quote: the one that is nearest to the claim; its negations count, as do its names.
    """
    return Mismatches(
        _missing_numbers(claim, evidence, quote),
        missing_names(claim, evidence) | replaced_names(claim, quote),
        _denied_by_one(claim, quote),
    )


def _missing_numbers(claim: str, evidence: str, quote: str) -> frozenset[str]:
    """Digits that the evidence lacks; spelled numbers ("the two") only where the quote counts."""
    missing = spelled_numbers(claim) - spelled_numbers(evidence)
    return missing if spelled_numbers(quote) else missing & numbers(claim)


def spelled_numbers(text: str) -> frozenset[str]:
    """The numbers of a text as digits, those from two to twenty also where they are spelled."""
    words = (word.lower() for word in _WORD.findall(text))
    return numbers(text) | {_WORD_NUMBERS[word] for word in words if word in _WORD_NUMBERS}


def names(text: str) -> frozenset[str]:
    """The capitalised words of a sentence, its first one only where another follows it."""
    first = _FIRST_NAME.match(text)
    found = [match.group() for match in _MID_SENTENCE_NAME.finditer(text)]
    candidates = found + ([first.group(1)] if first else [])
    return frozenset(name for name in candidates if content_words(name) and name not in _OPENERS)


def missing_names(claim: str, evidence: str) -> frozenset[str]:
    """The names of the claim of which no word of the evidence begins alike."""
    wanted = names(claim)
    if not wanted:
        return wanted
    held = _beginnings(_LETTERS.findall(evidence))
    return frozenset(name for name in wanted if not _beginnings([name]) & held)


def replaced_names(claim: str, quote: str) -> frozenset[str]:
    """The names of the claim that stand where the quote, said otherwise alike, has other names.

    "Gaul beat Carthage" holds no name that "Rome beat Carthage, then Gaul" lacks; this asks who did
    what. Two names that change places are often passed over, as in a list, where it means nothing.
    """
    mine, theirs = names(claim), names(quote)
    if not mine or not theirs:
        return frozenset()
    said, quoted = _LETTERS.findall(claim), _LETTERS.findall(quote)
    matcher = SequenceMatcher(
        None, [word.lower() for word in said], [word.lower() for word in quoted], autojunk=False
    )
    found: set[str] = set()
    for change, a, b, c, d in matcher.get_opcodes():
        if change == "replace" and max(b - a, d - c) <= _LONGEST_NAME:
            here, there = mine & {*said[a:b]}, theirs & {*quoted[c:d]}
            if there and not _same_name(said[a:b], quoted[c:d]):
                found |= here
    return frozenset(found)


def _same_name(one: list[str], other: list[str]) -> bool:
    """Whether two runs of words share a beginning, or one is the other's initials."""
    initials = {"".join(word[0] for word in words) for words in (one, other)}
    return bool(_beginnings(one) & _beginnings(other) or initials & {*one, *other})


def _beginnings(words: Iterable[str]) -> set[str]:
    return {word.lower()[:_SHARED_BEGINNING] for word in words}


def _denied_by_one(claim: str, quote: str) -> frozenset[str]:
    words = content_words(claim)
    if len(words & content_words(quote)) < _SAME_STATEMENT * len(words):
        return frozenset()
    said, denied = _polarity(claim)
    their_said, their_denied = _polarity(quote)
    opposed = [
        *_in_like_company(denied, their_said, their_denied),
        *_in_like_company(their_denied, said, denied),
    ]
    return frozenset(opposed)


def _in_like_company(denied: _Stems, said: _Stems, denied_too: _Stems) -> Iterator[str]:
    """What one text denies and the other affirms next to a content word that both have there."""
    for stem, company in denied.items():
        if stem in said and stem not in denied_too and company & said[stem]:
            yield stem


def _polarity(text: str) -> tuple[_Stems, _Stems]:
    """The stems of content words that a text affirms, and those that it denies, each with its
    neighbours."""
    sequence: list[tuple[str, bool]] = []
    reach = 0
    words = _WORD.findall(text.lower())
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word in _NEGATIONS or word.endswith(("n't", "n’t")):
            reach = 0 if following == "only" else _REACH
            continue
        for stem in stems(word):
            sequence.append((stem, reach > 0))
            reach = max(0, reach - 1)
    said: _Stems = {}
    denied: _Stems = {}
    for place, (stem, is_denied) in enumerate(sequence):
        near = sequence[max(0, place - _COMPANY) : place + _COMPANY + 1]
        company = {other for other, _ in near if other != stem}
        (denied if is_denied else said).setdefault(stem, set()).update(company)
    return said, denied
