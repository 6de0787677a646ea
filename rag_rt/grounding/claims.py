"""Where the claims of a sentence begin and end: each can be supported or not for itself.

A sentence is cut at conjunctions, relative clauses and semicolons, where both sides have enough
words to claim something. Grammar alone does not tell a clause from a list, so lists stay whole.
"""

import re

from retriever.sentences import Span

_CUT = re.compile(
    r"""(?:
        ;\s+
      | [,:–—]\s+ (?=(?:and|but|or|so|yet|which|who|whose|where|when|while|whereas|because|as|since
                    |although|though|unlike|leading|causing|allowing|making|resulting)\b)
      | \s+ (?=(?:because|while|whereas|although|but)\b)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+")
_LEAST_WORDS = 4  # shorter pieces ("and Mars") belong to a list


def claim_spans(text: str, start: int, end: int) -> list[Span]:
    """The claims of the sentence `text[start:end]`, in order; one that cannot be cut is whole.

    Spans are disjoint and trimmed of white space.
    """
    pieces: list[Span] = []
    begun = start
    for cut in _CUT.finditer(text, start, end):
        if _words(text, begun, cut.start()) >= _LEAST_WORDS <= _words(text, cut.end(), end):
            pieces.append((begun, cut.start()))
            begun = cut.end()
    pieces.append((begun, end))
    return [_trimmed(text, *piece) for piece in pieces]


def _words(text: str, start: int, end: int) -> int:
    return sum(1 for _ in _WORD.finditer(text, start, end))


def _trimmed(text: str, start: int, end: int) -> Span:
    piece = text[start:end]
    first = start + len(piece) - len(piece.lstrip())
    return first, max(first, start + len(piece.rstrip()))  # nothing but space: empty, at its end
