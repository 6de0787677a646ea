"""What wikiextractor writes: a folder of files, an archive of them, or one file.

A page is `<doc id url title>`, its lines, `</doc>`; or, with `--json`, a JSON object a line. Each
line of a page is a paragraph; the title, which some releases repeat as the first line, is none.
"""

import hashlib
import html
import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from retriever.errors import SourceError
from retriever.passages import Page
from retriever.sources.formats import Format, Source
from retriever.sources.inputs import (
    Input,
    decompressed,
    file_input,
    head,
    lines,
    named_input,
    reading,
)
from retriever.sources.records import (
    LONGEST,
    TOO_LONG,
    Malformed,
    Record,
    decoded,
    identifier,
    joined,
    json_object,
    string,
)

Stream = tuple[str, io.BufferedReader]
"""A file of the corpus: its name for messages, and its bytes."""

_ATTRIBUTE = {name: re.compile(rf'\b{name}="([^"]*)"') for name in ("id", "url")}
_TITLE = re.compile(r'\btitle="(.*)">\s*$')  # titles hold quotation marks, unescaped
_ESCAPED = re.compile("&(?:amp|lt|gt|quot|#39|#x27);")


def _open(path: str) -> Source:
    is_folder = Path(path).is_dir()
    inputs = _folder(Path(path)) if is_folder else [named_input(path)]
    label = Path(path).resolve().name if is_folder else inputs[0].label
    return Source(
        "wikiextractor",
        f"wikiextractor's pages {label}",
        _fingerprint(Path(path), inputs),
        wikipedia_ids=b"//en.wikipedia.org/wiki?curid=" in head(inputs[0]),
        records=lambda: _records(inputs),
    )


def _fingerprint(path: Path, inputs: list[Input]) -> str:
    if not path.is_dir():
        return inputs[0].fingerprint
    names = (Path(source.name).relative_to(path).as_posix() for source in inputs)
    everything = "\n".join(
        f"{name} {source.fingerprint}" for name, source in zip(names, inputs, strict=True)
    )
    return f"sha256:{hashlib.sha256(everything.encode('utf-8', 'surrogateescape')).hexdigest()}"


def _folder(path: Path) -> list[Input]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise SourceError(f"the folder {path} holds no file; name the folder of wikiextractor")
    return [file_input(file) for file in files]


def _records(inputs: list[Input]) -> Iterator[Record]:
    for source in inputs:
        is_tar = head(source)[257:262] == b"ustar"
        with reading(source) as stream:
            for name, part in _members(source.name, stream) if is_tar else [(source.name, stream)]:
                yield from _pages(name, part)


def _members(name: str, stream: io.BufferedReader) -> Iterator[Stream]:
    """The files of an archive, read on the way; nothing is unpacked to the disk."""
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_WholeArchive) as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # else it would keep them all
            if member.isfile() and (file := archive.extractfile(member)):
                yield f"{name}/{member.name}", decompressed(cast("io.BufferedReader", file))


class _WholeArchive(tarfile.TarInfo):
    """tarfile takes an archive that is cut short between two files, or damaged there, for whole."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_WholeArchive":
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no header where the next file begins: {error}") from error


def _pages(name: str, stream: io.BufferedReader) -> Iterator[Record]:
    document: _Document | None = None
    outside = False  # within a run of lines that belong to no page, reported once
    for number, line in lines(stream):
        place = f"{name}, line {number:,}"
        begins = line is not None and line.startswith(b"<doc ")
        if document is not None and begins:
            yield document.place, Malformed("it has no '</doc>'")
        if begins and line is not None:
            document, outside = _Document(place, line), False
        elif document is not None and line is not None and line.rstrip() == b"</doc>":
            yield document.place, document.page()
            document = None
        elif document is not None:
            document.add(line)
        elif line is not None and line.startswith(b"{"):
            yield place, _json_page(line)
        elif line is None or not line.isspace():
            if not outside:
                yield place, Malformed("it is neither '<doc …>' nor a JSON object")
            outside = True
    if document is not None:
        raise SourceError(
            f"{document.place}: the file ends before this page's '</doc>', it seems to be cut "
            "short; fetch it again"
        )


class _Document:
    """A page that is being read, in bounded memory."""

    def __init__(self, place: str, header: bytes) -> None:
        self.place = place
        self._lines = [header]
        self._room = LONGEST

    def add(self, line: bytes | None) -> None:
        self._room -= LONGEST + 1 if line is None else len(line)
        if line is not None and self._room >= 0:
            self._lines.append(line)

    def page(self) -> Page | Malformed:
        if self._room < 0:
            return TOO_LONG
        try:
            header, *body = map(decoded, self._lines)
            found = {name: form.search(header) for name, form in _ATTRIBUTE.items()}
            found["title"] = _TITLE.search(header)
            fields = {name: html.unescape(match[1]) for name, match in found.items() if match}
            return _page(fields["id"], fields["title"], fields["url"], body)
        except KeyError as error:
            return Malformed(f"its <doc> has no {error}")
        except Malformed as error:
            return error


def _json_page(line: bytes) -> Page | Malformed:
    try:
        record = json_object(line)
        if not isinstance(text := record.get("text"), str):
            raise Malformed("its 'text' is no string")
        body = [f"{line}\n" for line in text.split("\n")]
        return _page(identifier(record, "id"), string(record, "title"), string(record, "url"), body)
    except Malformed as error:
        return error


def _page(page_id: str, title: str, url: str, body: list[str]) -> Page:
    for field, value in (("id", page_id), ("title", title)):
        if not value.strip():
            raise Malformed(f"its '{field}' is blank")
    paragraphs = [_plain(line) for line in body if not line.isspace()]
    if paragraphs and paragraphs[0].strip() == title.strip():
        del paragraphs[0]
    text, starts = joined(paragraphs)
    return Page(page_id, title, text, url, starts)


def _plain(line: str) -> str:
    """A paragraph without the escapes that newer releases write."""
    return _ESCAPED.sub(lambda escape: html.unescape(escape[0]), line)


FORMAT = Format(
    "wikiextractor",
    "what wikiextractor writes, a folder, an archive or a file of '<doc>' or JSON pages",
    "extracted/",
    _open,
)
