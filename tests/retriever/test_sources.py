import json
import lzma
from pathlib import Path

import pytest

from retriever.errors import SourceError, StarterPackMissing
from retriever.sources import open_source
from retriever.starter_pack import locate

PAGE = {"wikipedia_id": "25", "wikipedia_title": "Sea", "text": ["Sea\n", "One. ", "Two.\n"]}


def test_a_kilt_page_keeps_its_paragraphs_and_drops_the_title_line(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl.xz"
    with lzma.open(path, "wt") as lines:
        lines.write(json.dumps(PAGE) + "\n")
    (page,) = open_source("kilt", path).pages()
    assert (page.id, page.title, page.text) == ("25", "Sea", "One. Two.\n")
    assert page.url == "https://en.wikipedia.org/wiki?curid=25"


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"wikipedia_id": 1}', "", "\ufeff{}"])
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "pages.jsonl"
    path.write_text(f"{json.dumps(PAGE)}\n{line}\n{json.dumps(PAGE)}\n")
    with pytest.raises(SourceError, match=r"pages\.jsonl, line 2"):
        list(open_source("kilt", path).pages())


def test_a_truncated_archive_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl.xz"
    path.write_bytes(lzma.compress(json.dumps(PAGE).encode() * 1000)[:-20])
    with pytest.raises(SourceError, match=r"pages\.jsonl\.xz"):
        list(open_source("kilt", path).pages())


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="line 1"):
        list(open_source("kilt", path).pages())


def test_a_missing_file_and_an_unknown_format_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is none at"):
        open_source("kilt", tmp_path / "nothing.jsonl")
    with pytest.raises(SourceError, match="no source 'zim'"):
        open_source("zim", tmp_path)


def test_a_package_of_the_starter_pack_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("retriever.starter_pack._ANCHORS", {"no-such-pack": "weights"})
    with pytest.raises(StarterPackMissing, match=r"'no-such-pack' is not installed.*make setup"):
        locate("no-such-pack")


def test_the_starter_corpus_is_attributed_to_its_articles() -> None:
    source = open_source("starter")
    pages = {page.title: page for page in source.pages()}
    assert not source.wikipedia_ids
    assert pages["Ocean current"].url == "https://en.wikipedia.org/wiki/Ocean_current"
    assert "%C3%A9" in pages["René Descartes"].url
