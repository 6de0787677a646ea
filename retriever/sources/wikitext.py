"""Wikitext into plain paragraphs (mwparserfromhell parses it).

Templates, tables, references, files, categories and comments go; links leave their text. Headings
are paragraphs of their own, and go where nothing follows them.
"""

import html
import re
from collections.abc import Iterator
from itertools import chain

import mwparserfromhell
from mwparserfromhell.nodes import (
    ExternalLink,
    Heading,
    HTMLEntity,
    Node,
    Tag,
    Text,
    Wikilink,
)
from mwparserfromhell.parser import ParserError
from mwparserfromhell.wikicode import Wikicode

from retriever.sources.markup import without_objects
from retriever.sources.records import Malformed

_ALONE = "\x02"  # begins a line that is a paragraph of its own; XML cannot hold it
_HEADING = "\x03"  # begins a heading; its level follows
_TABLE_LINE = "|"  # begins the lines of a table that is not closed
_LIST_MARKS = re.compile("^[*#:;]+", re.MULTILINE)

_GAP = re.compile(r"\n\s*")
_LONG = 4096  # characters after which a text is cut at a line break
_LONGEST = 1 << 14  # characters after which it is cut anywhere; no paragraph is as long
_INTERLANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z-]+)?|simple")
_QUOTES = re.compile("'{2,}")
_LEFTOVERS = re.compile(r"\[\[|\]\]|\{\{|\}\}|\{\||\|\}|__[A-Z]+__")
_EMPTY_BRACKETS = re.compile(r"[(\[]\s*(?:[,;:–]\s*)*[)\]]")
_OPENED_WITH_A_COMMA = re.compile(r"\(\s*(?:[,;:]\s*)+")
_BEFORE_A_STOP = re.compile(r"\s+([,.;)])(?=\s|$)")


def paragraphs(source: str, media: frozenset[str]) -> list[str]:
    """The paragraphs of a page, each with the line break that ends it.

    Args:
        source: the wikitext.
        media: names of the namespaces whose links are no text, lower case.

    Raises:
        Malformed: the wikitext cannot be parsed.
    """
    text = _LIST_MARKS.sub(_ALONE, without_objects(source, media))
    rendered = "".join("".join(_rendered(_parsed(piece), media)) for piece in _pieces(text))
    return [f"{text}\n" for text in _with_headings(_blocks(rendered))]


def _pieces(text: str) -> Iterator[str]:
    """A text in parts, cut at its blank lines and, where it has none for long, at line breaks.

    No link goes over a blank line, and the parser takes quadratic time for links that never end.
    """
    start = 0
    for gap in chain(_GAP.finditer(text), [None]):
        end = gap.end() if gap else len(text)
        if gap is None or gap.group().count("\n") > 1 or end - start > _LONG:
            for first in range(start, end, _LONGEST):
                yield text[first : min(first + _LONGEST, end)]
            start = end


def _parsed(piece: str) -> Wikicode:
    # Bold and italics are left to `_tidied`: as tags, unbalanced ones would swallow their page.
    try:
        return mwparserfromhell.parse(piece, skip_style_tags=True)
    except ParserError as error:
        raise Malformed(f"its wikitext cannot be parsed ({error})") from error


def _rendered(code: Wikicode | None, media: frozenset[str]) -> Iterator[str]:
    for node in code.nodes if code is not None else ():
        yield from _rendered_node(node, media)


def _rendered_node(node: Node, media: frozenset[str]) -> Iterator[str]:
    if isinstance(node, Text):
        yield node.value
    elif isinstance(node, Wikilink):
        yield from _link(node, media)
    elif isinstance(node, Tag):
        yield "\n\n" if str(node.tag) == "hr" else ""
        yield from _rendered(node.contents, media)
    elif isinstance(node, Heading):
        title = " ".join("".join(_rendered(node.title, media)).split())
        yield f"\n{_HEADING}{node.level}{title}\n"
    elif isinstance(node, HTMLEntity):
        character = node.normalize()
        yield character if character > " " else " "
    elif isinstance(node, ExternalLink):
        shown = node.title if node.brackets else node.url
        yield from _rendered(shown, media)


def _link(node: Wikilink, media: frozenset[str]) -> Iterator[str]:
    target = str(node.title).strip()
    prefix = target.partition(":")[0].strip().lower() if ":" in target else ""
    if prefix in media or (_INTERLANGUAGE.fullmatch(prefix) and node.text is None):
        return
    if node.text is not None and str(node.text).strip():
        yield from _rendered(node.text, media)
    else:
        yield target.lstrip(":")


def _blocks(rendered: str) -> Iterator[tuple[int, str]]:
    """Paragraphs as `(0, text)`, headings as `(level, title)`; lines join as in a browser."""
    lines: list[str] = []
    for line in [*rendered.split("\n"), ""]:
        is_heading, is_alone = line.startswith(_HEADING), _ALONE in line
        is_gap = not line.strip() or line.lstrip().startswith(_TABLE_LINE)
        if is_heading or is_alone or is_gap:
            yield 0, _tidied(" ".join(lines))
            lines = []
        if is_heading:
            yield int(line[1]), _tidied(line[2:])
        elif is_alone:
            yield 0, _tidied(line.replace(_ALONE, ""))
        elif not is_gap:
            lines.append(line)


def _with_headings(blocks: Iterator[tuple[int, str]]) -> Iterator[str]:
    """Texts of blocks, without the headings that no paragraph stands under."""
    waiting: list[tuple[int, str]] = []
    for level, text in blocks:
        if level and text:
            waiting = [(above, title) for above, title in waiting if above < level]
            waiting.append((level, text))
        elif text:
            yield from (title for _, title in waiting)
            waiting = []
            yield text


def _tidied(text: str) -> str:
    """A text without what the parser left of its markup, and without the gaps of what was dropped.

    Empty where no letter and no digit is left.
    """
    text = _QUOTES.sub(_apostrophes, text)
    text = html.unescape(_LEFTOVERS.sub("", text))
    text = _OPENED_WITH_A_COMMA.sub("(", _EMPTY_BRACKETS.sub("", text))
    text = _BEFORE_A_STOP.sub(r"\1", " ".join(text.split())).lstrip(" ,;:")
    return text if any(map(str.isalnum, text)) else ""


def _apostrophes(quotes: re.Match[str]) -> str:
    """What MediaWiki shows of a run: 2, 3 or 5 are italics and bold, the others are apostrophes."""
    length = len(quotes.group())
    return "'" * (1 if length == 4 else max(0, length - 5))
