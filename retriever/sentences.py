"""Where sentences begin and end.

One rule set serves passages and answers alike, so that a quote and the sentence it supports are cut
in the same way. Offsets count characters; spans are trimmed of white space, in order, disjoint, and
together hold every other character of the text.
"""

import re

Span = tuple[int, int]

_TERMINATOR = re.compile(
    r"""(?:
        (?<![.!?…])                   # a run of marks is looked at once, not from each of them
        [.!?…]++ [)\]"'”’»]* (?=\s)  # Latin end marks, closing quotes and brackets, then a space
      | [。！？]+ [」』”’）]*          # CJK end marks need no space
      | (?=\n)                       # a line break ends a heading, a list item, a paragraph
    )""",
    re.VERBOSE,
)
_END_MARK = re.compile(r"[.!?…。！？]+[)\]\"'”’»」』）]*\s*$")
_LAST_WORD = re.compile(r"[(\[\"'“‘«]*(\S+)$")
_NEXT_WORD = re.compile(r"\s*([(\[\"'“‘«]*)(\w*)")
_LONGEST_WORD = 40  # characters looked back at; an abbreviation is shorter
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof rev hon st sr jr gen col lt sgt capt gov sen rep pres "
    "vs cf al eg ie e.g i.e viz ca c approx est no nos vol vols pp p ch fig figs eq sec ed eds "
    "inc ltd co corp dept univ mt ft jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
_ALWAYS_ABBREVIATE = frozenset(
    "mr mrs ms dr prof gen col lt sgt capt gov sen rep vs cf e.g i.e viz ca".split()
)
_OPENERS = frozenset(
    "a an the this that these those it its he she his her they their we you i in on at for from by "
    "with as if when while although though however but and or there here some many most all both "
    "each after before during since because unlike like such one two other another today".split()
)


def sentence_spans(text: str) -> list[Span]:
    """The sentences of a text, as `(start, end)` character offsets."""
    spans: list[Span] = []
    start = 0
    for match in _TERMINATOR.finditer(text):
        if match.end() > start and _is_boundary(text, match):
            _append_trimmed(spans, text, start, match.end())
            start = match.end()
    _append_trimmed(spans, text, start, len(text))
    return spans


def finished_spans(text: str) -> list[Span]:
    """The sentences of a growing text that no continuation of it can change.

    A boundary depends on the text before it and on the one word after it, so the sentences before
    the last one are settled once only whole words are looked at.
    """
    whole_words = text[: len(text) - len(re.split(r"\s", text)[-1])]
    return sentence_spans(whole_words)[:-1]


def ends_whole(text: str) -> bool:
    """Whether a text ends with an end mark, white space apart: its last sentence is not cut."""
    return _END_MARK.search(text) is not None


def _append_trimmed(spans: list[Span], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    if stripped := piece.strip():
        offset = start + piece.index(stripped)
        spans.append((offset, offset + len(stripped)))


def _is_boundary(text: str, match: re.Match[str]) -> bool:
    mark = match.group()
    if not mark or mark[0] in "。！？":
        return True
    following = _NEXT_WORD.match(text, match.end())
    assert following is not None  # the pattern also matches nothing
    if "\n" in following.group():
        return True
    opening, word = following.groups()
    if word[:1].islower() and not opening:
        return False
    if mark[0] != "." or len(mark.rstrip(")]\"'”’»")) > 1:
        return True
    preceding = _LAST_WORD.search(text[max(0, match.start() - _LONGEST_WORD) : match.start()])
    return preceding is None or _ends_after(preceding.group(1), word)


def _ends_after(preceding: str, word: str) -> bool:
    """Whether the full stop after `preceding` ends a sentence, `word` being the next one."""
    lowered = preceding.lower()
    if lowered in _ALWAYS_ABBREVIATE:
        return False
    is_initial = len(preceding) == 1 and preceding.isalpha()
    is_acronym = re.fullmatch(r"(?:[^\W\d_]\.)+[^\W\d_]", preceding) is not None
    if lowered in _ABBREVIATIONS or is_initial or is_acronym:
        return word.lower() in _OPENERS
    return True
