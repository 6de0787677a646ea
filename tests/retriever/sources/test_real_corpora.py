"""Corpora as they are published."""

from itertools import islice
from pathlib import Path

from retriever.sources import open_source


def test_the_mini_knowledge_source_is_read_whole(shared: Path) -> None:
    path = shared / "data" / "wikipedia" / "mini_kilt_knowledgesource.jsonl.xz"
    source = open_source("kilt", path)
    pages = list(source.pages())
    assert source.wikipedia_ids
    assert len(pages) == 1052
    assert (pages[0].id, pages[0].title) == ("25", "Autism")
    assert all(
        page.text[start - 1] == "\n" for page in pages for start in page.paragraph_starts[1:]
    )


def test_the_archive_of_wikiextractors_pages_is_read(shared: Path) -> None:
    path = shared / "data" / "wikipedia" / "enwiki-30k-wikiextractor.tar.xz"
    source = open_source("wikiextractor", path)
    assert source.wikipedia_ids
    for page in islice(source.pages(), 300):
        assert page.url == f"http://en.wikipedia.org/wiki?curid={page.id}"
        assert not page.text.startswith(page.title + "\n")
        assert not any(start and page.text[start - 1] != "\n" for start in page.paragraph_starts)
        assert "<doc" not in page.text
