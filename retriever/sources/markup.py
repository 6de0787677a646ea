"""What is no text in wikitext and can hold anything: taken out in one pass, in linear time.

The parser of the rest would read it all, references of references, and takes hours for a page whose
brackets never close.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_OPAQUE = (
    "ref|references|math|chem|ce|gallery|timeline|score|graph|hiero|mapframe|maplink|imagemap"
    "|inputbox|indicator|categorytree|templatedata|templatestyles|includeonly|style|script|table"
)
_OPENING = re.compile(rf"<!--|<({_OPAQUE})\b[^<>]*>|<(nowiki)\s*>", re.IGNORECASE)
_BRACKETS = re.compile(
    r"(?P<template>\{\{)|(?P<end_template>\}\})|(?P<link>\[\[)|(?P<end_link>\]\])"
    r"|^[ \t:]*(?P<table>\{\|)|^[ \t]*(?P<end_table>\|\}(?!\}))",
    re.MULTILINE,
)
_TAG = re.compile(
    r"</?(?:(?P<block>p|div|center|blockquote|poem|ul|ol|dl|li|dd|dt|pre|syntaxhighlight|source"
    r"|h[1-6]|hr|tr|td|th|caption)|(?P<space>br)|span|small|big|sup|sub|font|code|tt|samp|kbd|var"
    r"|i|b|u|s|strike|del|ins|abbr|cite|em|strong|q|bdi|bdo|mark|ruby|rb|rp|rt|time|wbr|nowiki"
    rf"|noinclude|onlyinclude|section|tbody|thead|{_OPAQUE})\b[^<>]*>",
    re.IGNORECASE,
)
_NAMESPACE = re.compile(r"\s*([^\[\]{}|:\n]{1,60}):")
_MARKUP = {character: f"&#{ord(character)};" for character in "{}[]|<>'=*#:;_~&"}
_AS_TEXT = str.maketrans(_MARKUP)

Span = tuple[int, int]


def without_objects(source: str, media: frozenset[str]) -> str:
    """Wikitext without comments, tags and templates, and without what is no text within them.

    References, formulas and their like, tables and media go whole; other tags leave their content.

    Args:
        source: the wikitext.
        media: names of the namespaces whose links are no text, lower case.
    """
    untagged = _TAG.sub(_gap, "".join(_without_opaque(source)))
    return _without_nested(untagged, media)


def _gap(tag: re.Match[str]) -> str:
    """What a browser puts in a tag's place."""
    if tag["block"]:
        return "\n\n"
    return " " if tag["space"] else ""


def _without_opaque(source: str) -> Iterator[str]:
    """What is outside of comments and opaque tags; within `<nowiki>`, markup becomes entities.

    A tag that is not closed is left out alone, and a comment goes on to the end, as in MediaWiki.
    """
    position = 0
    never_closed: set[str] = set()
    while opening := _OPENING.search(source, position):
        yield source[position : opening.start()]
        position = opening.end()
        name = (opening[1] or opening[2] or "").lower()
        if opening.group().endswith("/>") or name in never_closed:
            continue
        end = _closing(name).search(source, position)
        if end is None and not name:
            return
        if end is None:
            never_closed.add(name)
            continue
        if name == "nowiki":
            yield source[position : end.start()].translate(_AS_TEXT)
        position = end.end()
    yield source[position:]


def _closing(name: str) -> re.Pattern[str]:
    return re.compile(rf"</{name}\s*>" if name else "-->", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Open:
    """A bracket that waits for its other half."""

    kind: str
    span: Span
    dropped: bool

    @property
    def mark(self) -> Span:
        """What goes where it is never closed; of a table's `{|`, the line stays a table's line."""
        start, end = self.span
        return (start, end - 1 if self.kind == "table" else end)


def _without_nested(source: str, media: frozenset[str]) -> str:
    """What is outside of templates, tables and media; those that are not closed lose their mark."""
    stack: list[_Open] = []
    depth = {"template": 0, "table": 0, "link": 0}
    cut: list[Span] = []  # in order, disjoint
    for mark in _BRACKETS.finditer(source):
        kind = mark.lastgroup or ""
        span = mark.span(kind)
        if kind in depth:
            dropped = kind != "link" or _is_media(source, mark.end(), media)
            stack.append(_Open(kind, span, dropped))
            depth[kind] += 1
        elif depth[kind := kind.removeprefix("end_")]:
            opened = _opened(stack, depth, kind)
            if opened.dropped:
                while cut and cut[-1][0] >= opened.span[0]:
                    cut.pop()
                cut.append((opened.span[0], span[1]))
        elif kind != "link":
            cut.append(span)
    return _outside(source, sorted([*cut, *(left.mark for left in stack if left.dropped)]))


def _is_media(source: str, position: int, media: frozenset[str]) -> bool:
    namespace = _NAMESPACE.match(source, position)
    return namespace is not None and namespace[1].strip().lower() in media


def _opened(stack: list[_Open], depth: dict[str, int], kind: str) -> _Open:
    """The innermost open bracket of a kind; it is closed now, and all that are within it."""
    while True:
        last = stack.pop()
        depth[last.kind] -= 1
        if last.kind == kind:
            return last


def _outside(source: str, cut: list[Span]) -> str:
    pieces, position = [], 0
    for start, end in cut:
        pieces.append(source[position:start])
        position = max(position, end)
    return "".join([*pieces, source[position:]])
