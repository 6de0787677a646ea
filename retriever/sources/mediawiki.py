"""MediaWiki's XML dumps (`pages-articles`): the articles, as plain paragraphs.

The XML is read by expat, which builds no tree, without any document type, so that no entity can be
declared and none can expand.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from retriever.errors import SourceError
from retriever.passages import Page
from retriever.sources.formats import Format, Source
from retriever.sources.inputs import Input, head, named_input, reading
from retriever.sources.records import LONGEST, TOO_LONG, LeftOut, Malformed, Record, joined
from retriever.sources.wikipedia import ENGLISH, url_of_id

_CHUNK = 1 << 16
_DEEPEST = 32  # elements within each other; a dump has 5
_REDIRECT = re.compile(r"\s*#\s*redirect\b", re.IGNORECASE)
_FIELDS = {
    "mediawiki/page/title": "title",
    "mediawiki/page/ns": "namespace",
    "mediawiki/page/id": "id",
    "mediawiki/page/revision/text": "text",
}
_BASE = "mediawiki/siteinfo/base"
_NAMESPACE = "mediawiki/siteinfo/namespaces/namespace"
_READ = {*_FIELDS, _BASE, _NAMESPACE}
_MEDIA = {"-2", "6", "14"}  # namespaces whose links are pictures, sounds and categories


@dataclass(slots=True)
class _Raw:
    """A page of the dump as its XML has it."""

    line: int
    redirect: bool = False
    fields: dict[str, str] = field(default_factory=dict)
    too_long: bool = False


@dataclass(slots=True)
class _Wiki:
    """What the head of a dump says of its wiki; names of namespaces are in lower case."""

    address: str = ENGLISH
    namespaces: dict[str, str] = field(default_factory=dict)
    media: set[str] = field(default_factory=lambda: {"file", "image", "media", "category"})


class _Parser:
    """Gathers pages while it is fed."""

    def __init__(self, name: str) -> None:
        self.wiki = _Wiki()
        self.whole: list[_Raw] = []
        self._name = name
        self._fed = 0
        self._path: list[str] = []
        self._page: _Raw | None = None
        self._text: list[str] | None = None  # of the element that is being read
        self._key = ""  # of the namespace that is being read
        self._room = LONGEST
        self._expat = expat.ParserCreate("utf-8")
        self._expat.buffer_text = True
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._characters
        self._expat.StartDoctypeDeclHandler = self._doctype

    @property
    def line(self) -> int:
        return self._expat.CurrentLineNumber

    def feed(self, chunk: bytes) -> None:
        """Read on; an empty chunk is the end.

        Raises:
            SourceError: it is no dump, is cut short, or is no XML.
        """
        self._fed += len(chunk)
        try:
            self._expat.Parse(chunk, not chunk)
        except expat.ExpatError as error:
            reason = expat.errors.messages[error.code]
            raise self._error(
                f"it is no XML there, cut short or damaged ({reason}); fetch it again"
            ) from error
        if chunk and self._fed - self._expat.CurrentByteIndex > LONGEST:
            raise self._error(f"a tag is longer than {LONGEST >> 20} MiB")

    def _error(self, reason: str) -> SourceError:
        return SourceError(f"{self._name}, line {self.line:,}: {reason}")

    def _doctype(self, *_: object) -> None:
        raise self._error("a document type is declared, which no dump does; it is not read")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag)
        if self._path[0] != "mediawiki":
            raise self._error(f"it begins with <{tag}>, so it is no MediaWiki dump")
        if len(self._path) > _DEEPEST:
            raise self._error("its elements are nested too deeply")
        path = "/".join(self._path)
        if path == "mediawiki/page":
            self._page = _Raw(self.line)
        elif path == "mediawiki/page/redirect" and self._page:
            self._page.redirect = True
        elif path in _READ:
            self._text, self._room = [], LONGEST
            self._key = attributes.get("key", "")

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._room -= len(text)
            if self._room >= 0:
                self._text.append(text)

    def _end(self, tag: str) -> None:
        path = "/".join(self._path)
        self._path.pop()
        if path == "mediawiki/page" and self._page:
            self.whole.append(self._page)
            self._page = None
        if self._text is None or path not in _READ:
            return
        text, self._text = "".join(self._text), None
        if path == _BASE and text.startswith(("http://", "https://")):
            self.wiki.address = text.rpartition("/")[0]
        elif path == _NAMESPACE:
            self.wiki.namespaces[text.lower()] = self._key
            if self._key in _MEDIA:
                self.wiki.media.add(text.lower())
        elif self._page and path in _FIELDS:
            self._page.fields[_FIELDS[path]] = text
            self._page.too_long |= self._room < 0


Paragraphs = Callable[[str, frozenset[str]], list[str]]


def _open(path: str) -> Source:
    paragraphs = _converter()
    source = named_input(path)
    return Source(
        "mediawiki",
        f"MediaWiki dump {source.label}",
        source.fingerprint,
        wikipedia_ids=b"<dbname>enwiki</dbname>" in head(source),
        records=lambda: _records(source, paragraphs),
    )


def _converter() -> Paragraphs:
    try:
        from retriever.sources.wikitext import paragraphs
    except ImportError as error:
        raise SourceError(
            f"the source 'mediawiki' needs a package that is not installed ({error}); get it with "
            "pip install 'rag-rt[mediawiki]'"
        ) from error
    return paragraphs


def _records(source: Input, paragraphs: Paragraphs) -> Iterator[Record]:
    parser = _Parser(source.name)
    with reading(source) as stream:
        while True:
            chunk = stream.read1(_CHUNK)
            failure = None
            try:
                parser.feed(chunk)
            except SourceError as error:  # the pages before it are whole
                failure = error
            for raw in parser.whole:
                yield f"{source.name}, line {raw.line:,}", _record(raw, parser.wiki, paragraphs)
            parser.whole.clear()
            if failure:
                raise failure
            if not chunk:
                return


def _record(raw: _Raw, wiki: _Wiki, paragraphs: Paragraphs) -> Page | Malformed | LeftOut:
    title, page_id = (raw.fields.get(name, "").strip() for name in ("title", "id"))
    by_title = wiki.namespaces.get(title.partition(":")[0].lower(), "0")  # for dumps before 2011
    if raw.fields.get("namespace", by_title).strip() != "0":
        return LeftOut("pages of other namespaces")
    if raw.redirect or _REDIRECT.match(raw.fields.get("text", "")):
        return LeftOut("redirects")
    if raw.too_long:
        return TOO_LONG
    if not (title and page_id and "text" in raw.fields):
        return Malformed("the page has no title, no id or no text")
    try:
        text, starts = joined(paragraphs(raw.fields["text"], frozenset(wiki.media)))
    except Malformed as error:
        return error
    return Page(page_id, title, text, url_of_id(page_id, wiki.address), starts)


FORMAT = Format(
    "mediawiki",
    "a MediaWiki XML dump (pages-articles)",
    "enwiki-latest-pages-articles.xml.bz2",
    _open,
)
