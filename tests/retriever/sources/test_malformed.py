"""Bad input: counted, reported and skipped up to a limit, or a named error; nothing else."""

import bz2
import gzip
import json
import lzma
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retriever.errors import SourceError
from retriever.passages import Page
from retriever.sources import Skipped, open_source
from tests.retriever.sources import corpora
from tests.retriever.sources.corpora import WRITERS

PAGES = corpora.many_pages(3)
GOOD = corpora.kilt(PAGES[:1])
NAMES = ("kilt", "dpr", "jsonl", "mediawiki", "wikiextractor")


def read(name: str, path: Path, content: bytes, limit: int = 0) -> tuple[list[Page], list[str]]:
    path.write_bytes(content)
    reports: list[str] = []
    skipped = Skipped(limit, reports.append)
    pages = list(open_source(name, path).pages(skipped))
    assert skipped.malformed == len(reports)
    return pages, reports


MALFORMED = {
    "no JSON": b"{",
    "no object": b"[]",
    "no field": b"{}",
    "no title": b'{"wikipedia_id": 1, "text": ["a"]}',
    "a blank title": b'{"wikipedia_id": 1, "wikipedia_title": " ", "text": ["a"]}',
    "a blank id": b'{"wikipedia_id": "", "wikipedia_title": "A", "text": ["a"]}',
    "an id that is true": b'{"wikipedia_id": true, "wikipedia_title": "A", "text": ["a"]}',
    "a text that is no list": b'{"wikipedia_id": 1, "wikipedia_title": "A", "text": "a"}',
    "a paragraph that is null": b'{"wikipedia_id": 1, "wikipedia_title": "A", "text": ["a", null]}',
    "a byte order mark in the middle": b"\xef\xbb\xbf{}",
    "no UTF-8": b'{"wikipedia_title": "\xff"}',
    "Latin-1 among UTF-8": '{"wikipedia_title": "Müller"}'.encode("latin-1"),
    "deep nesting": b'{"a":' + b"[" * 100_000,
    "a huge number": b'{"wikipedia_id": ' + b"9" * 5000 + b"}",
    "a NUL": b"\x00",
}


@pytest.mark.parametrize("line", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_line_is_named_and_can_be_skipped(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    content = GOOD + line + b"\n" + corpora.kilt(PAGES[1:2])
    with pytest.raises(SourceError, match=r"pages\.jsonl, line 2: .*--max-malformed N"):
        read("kilt", path, content)
    pages, (report,) = read("kilt", path, content, limit=1)
    assert [page.id for page in pages] == ["1", "2"]
    assert report.startswith(f"Skipped {path}, line 2: ")


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("jsonl", b'{"text": ""}'),
        ("jsonl", b'{"text": "a", "url": 1}'),
        ("jsonl", b'{"text": "a", "title": 1}'),
        ("dpr", b"1\tno title"),
        ("dpr", b"1\ttext\t \n"),
        ("wikiextractor", b'<doc id="1" url="u">\nA\n</doc>'),
        ("wikiextractor", b'<doc id="" url="u" title="A">\nA\n</doc>'),
        ("wikiextractor", b'<doc id="1" url="u" title="A">\n\xff\n</doc>'),
        ("wikiextractor", b'<doc id="1" url="u" title="A">\nnever closed'),
        ("wikiextractor", b"neither\nthis\nnor that"),
        ("wikiextractor", b'{"id": 1}'),
        ("mediawiki", b"<page><title>A</title><revision><text>x</text></revision></page>"),
        ("mediawiki", b"<page><title>A</title><id>7</id></page>"),
    ],
)
def test_a_malformed_record_of_any_format_is_skipped(
    name: str, record: bytes, tmp_path: Path
) -> None:
    write = WRITERS[name][1]
    content = write(PAGES[:1]) + record + b"\n" + write(PAGES[1:])
    if name == "mediawiki":
        content = corpora.mediawiki(PAGES, more=record.decode())
    with pytest.raises(SourceError, match=r"corpus, line \d+: "):
        read(name, tmp_path / "corpus", content)
    pages, reports = read(name, tmp_path / "corpus", content, limit=1)
    assert [page.id for page in pages if "Page" in page.title] == ["1", "2", "3"]
    assert len(reports) == 1


@pytest.mark.parametrize("form", WRITERS)
def test_a_page_that_comes_again_is_counted_and_left_out(form: str, tmp_path: Path) -> None:
    name, write = WRITERS[form]
    twice = [PAGES[0], PAGES[1], PAGES[0]]
    pages, (report,) = read(name, tmp_path / "corpus", write(twice), limit=1)
    assert [page.id for page in pages] == ["1", "2"]
    assert "the page id '1' was there before" in report


def test_beyond_the_limit_the_error_names_place_and_limit(tmp_path: Path) -> None:
    content = GOOD + b"?\n" * 3
    with pytest.raises(SourceError, match=r"line 4: .*limit is 2; .*--max-malformed N"):
        read("kilt", tmp_path / "corpus", content, limit=2)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_another_format_is_an_error_whatever_the_limit(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        read(name, tmp_path / "corpus", b"nothing\nof\nuse\n" * 1000, limit=10**6)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_file_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"corpus"):
        read(name, tmp_path / "corpus", b"")


def test_a_file_that_ends_within_a_record_is_cut_short_whatever_the_limit(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="ends within a record"):
        read("kilt", tmp_path / "corpus", corpora.kilt(PAGES)[:-20], limit=10**6)


def test_what_cannot_be_stored_is_replaced_and_offsets_stay(tmp_path: Path) -> None:
    text = ["Sea\n", "a\ud800b\x00c\n", "d\x1be\n"]
    record = {"wikipedia_id": "1\x00", "wikipedia_title": "S\udfffea", "text": text}
    line = json.dumps(record).encode() + b"\n"
    ((page,), _) = read("kilt", tmp_path / "corpus", line)
    assert page == Page(
        "1\ufffd",
        "S\ufffdea",
        "a\ufffdb\ufffdc\nd\ufffde\n",
        "https://en.wikipedia.org/wiki?curid=1%00",
        (0, 6),
    )


def test_a_line_too_long_to_be_held_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retriever.sources.inputs.LONGEST", 1 << 20)
    content = GOOD + b'"' + b"a" * (50 << 20) + b"\n" + corpora.kilt(PAGES[1:])
    path = tmp_path / "corpus"
    path.write_bytes(content)
    skipped = Skipped(limit=1)
    tracemalloc.start()
    pages = list(open_source("kilt", path).pages(skipped))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(pages), skipped.malformed) == (3, 1)
    assert peak < 6 << 20


@pytest.mark.parametrize("name", ["wikiextractor", "mediawiki"])
def test_a_page_of_many_lines_that_is_too_long_is_malformed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"retriever.sources.{name}.LONGEST", 2000)
    long = Page("9", "Long", "word \n" * 1000, "https://w.org/wiki?curid=9", (0,))
    content = WRITERS[name][1]([PAGES[0], long, PAGES[1]])
    pages, (report,) = read(name, tmp_path / "corpus", content, limit=1)
    assert [page.id for page in pages] == ["1", "2"]
    assert "longer than" in report


@pytest.mark.parametrize("form", ["kilt", "wikiextractor", "mediawiki"])
def test_a_page_of_50_mb_is_read(form: str, tmp_path: Path) -> None:
    paragraph = "The sea is salt. " * 100 + "So.\n"
    count = (50 << 20) // len(paragraph) if form != "mediawiki" else 2000
    starts = tuple(range(0, count * len(paragraph), len(paragraph)))
    page = Page("1", "Sea", paragraph * count, "https://w.org/wiki?curid=1", starts)
    (found,), _ = read(form, tmp_path / "corpus", WRITERS[form][1]([page]))
    assert (found.paragraph_starts, found.text) == (starts, page.text)


_COMPRESSIONS = (bytes, gzip.compress, bz2.compress, lzma.compress)
_VALID = [
    compress(write(PAGES))
    for compress in _COMPRESSIONS
    for write in (w for _, w in WRITERS.values())
]


@st.composite
def damaged_corpora(draw: st.DrawFn) -> bytes:
    """A corpus of any format and compression, with a piece of it replaced by any bytes."""
    content = draw(st.sampled_from(_VALID))
    start = draw(st.integers(0, len(content)))
    end = draw(st.integers(start, min(len(content), start + 600)))
    return content[:start] + draw(st.binary(max_size=20)) + content[end:]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=100), damaged_corpora()))
def test_any_bytes_at_all_end_in_pages_or_a_named_error(
    name: str, content: bytes, tmp_path: Path
) -> None:
    try:
        pages, _ = read(name, tmp_path / "corpus", content, limit=1000)
    except SourceError:
        return
    assert pages
    assert all(page.id.strip() and page.title.strip() for page in pages)
    "".join(page.id + page.title + page.text + page.url for page in pages).encode()
