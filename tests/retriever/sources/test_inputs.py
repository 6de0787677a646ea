"""Where bytes come from: compressed files, standard input, archives that are cut short."""

import bz2
import gzip
import lzma
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from retriever.errors import SourceError
from retriever.passages import Page
from retriever.sources import Skipped, Source, open_source
from tests.retriever.sources import corpora
from tests.retriever.sources.corpora import WRITERS

PAGES = corpora.many_pages(300)

Compress = Callable[[bytes], bytes]
COMPRESSIONS: dict[str, Compress] = {
    "plain": lambda content: content,
    "gzip": gzip.compress,
    "bzip2": lambda content: bz2.compress(content, 1),  # in blocks of 100 kB
    "xz": lzma.compress,
    "zstandard": lambda content: pa.compress(content, "zstd", asbytes=True),
    "gzip in two parts": lambda content: (
        gzip.compress(content[:999]) + gzip.compress(content[999:])
    ),
}

READER = """
import sys
from retriever.sources import open_source
source = open_source(sys.argv[1], "-")
assert list(source.pages()) == list(source.pages())
print(source.fingerprint, open_source(sys.argv[1], "-").fingerprint == source.fingerprint)
print(*(page.title for page in source.pages()), sep=",")
"""


def until_error(source: Source) -> tuple[list[Page], SourceError | None]:
    pages = []
    try:
        for page in source.pages(Skipped(limit=1000)):
            pages.append(page)
    except SourceError as error:
        return pages, error
    return pages, None


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("form", WRITERS)
def test_every_format_is_decompressed_whatever_its_name(
    form: str, compression: str, tmp_path: Path
) -> None:
    name, write = WRITERS[form]
    path = tmp_path / "corpus"
    path.write_bytes(COMPRESSIONS[compression](write(PAGES[:20])))
    pages, error = until_error(open_source(name, path))
    assert ([page.id for page in pages], error) == ([page.id for page in PAGES[:20]], None)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("form", ["kilt", "wikiextractor", "wikiextractor in a tar", "mediawiki"])
def test_a_corpus_that_is_cut_short_gives_what_is_whole_and_then_an_error(
    form: str, compression: str, tmp_path: Path
) -> None:
    name, write = WRITERS[form]
    content = COMPRESSIONS[compression](write(PAGES))
    path = tmp_path / "corpus"
    found = []
    for share in (0.3, 0.6, 0.97):
        path.write_bytes(content[: int(len(content) * share)])
        pages, error = until_error(open_source(name, path))
        assert error is not None
        assert str(path) in str(error)
        assert [page.id for page in pages] == [page.id for page in PAGES[: len(pages)]]
        found.append(len(pages))
    assert found == sorted(found)
    assert found[-1] > 100


def test_a_tar_that_ends_between_two_files_is_cut_short(tmp_path: Path) -> None:
    content = corpora.tarred({f"wiki_{n:02}": corpora.wikiextractor([PAGES[n]]) for n in range(3)})
    second = content.index(b"wiki_02")
    path = tmp_path / "corpus.tar"
    for damaged in (content[:second], content[:second] + b"?" * 512 + content[second + 512 :]):
        path.write_bytes(damaged)
        pages, error = until_error(open_source("wikiextractor", path))
        assert len(pages) == 2
        assert "cut short or damaged" in str(error)


def read_from_pipe(form: str, pages: list[Page]) -> tuple[str, str]:
    """What a process of its own finds in a pipe: the fingerprint, and the titles."""
    name, write = WRITERS[form]
    done = subprocess.run(
        [sys.executable, "-c", READER, name],
        input=bz2.compress(write(pages)),
        capture_output=True,
        check=True,
    )
    fingerprint, titles = done.stdout.decode().splitlines()
    return fingerprint, titles


@pytest.mark.parametrize("form", WRITERS)
def test_a_pipe_is_read_as_often_as_a_file(form: str) -> None:
    fingerprint, titles = read_from_pipe(form, PAGES[:3])
    assert titles == "Page 1,Page 2,Page 3"
    assert fingerprint.endswith(" True")


def test_a_pipe_is_known_by_its_content() -> None:
    one, another, same = (read_from_pipe("kilt", PAGES[:n])[0] for n in (3, 4, 3))
    assert one == same != another


def test_a_terminal_is_no_corpus() -> None:
    terminal, end = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", READER, "kilt"], stdin=end, capture_output=True, text=True
        )
    finally:
        os.close(terminal)
        os.close(end)
    assert "standard input is a terminal" in done.stderr


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nothing\.jsonl cannot be read: No such file"):
        open_source("kilt", tmp_path / "nothing.jsonl")
    with pytest.raises(SourceError, match="holds no file"):
        open_source("wikiextractor", tmp_path)


@pytest.mark.parametrize("name", ["kilt", "dpr", "jsonl", "mediawiki"])
def test_a_folder_is_no_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Is a directory"):
        list(open_source(name, tmp_path).pages())


@pytest.mark.parametrize("form", ["kilt", "mediawiki", "wikiextractor", "huggingface"])
def test_a_corpus_is_the_same_wherever_it_is_read_from(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that was stopped in one folder goes on in another."""
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "train.jsonl").write_bytes(corpora.jsonl(PAGES[:1]))
    path = Path("corpus" if form in ("wikiextractor", "huggingface") else "corpus/train.jsonl")
    monkeypatch.chdir(tmp_path)
    here, there = open_source(form, path), open_source(form, path.resolve())
    assert (here.fingerprint, here.description) == (there.fingerprint, there.description)
