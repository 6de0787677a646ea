"""Reading a corpus takes the memory of a page, however many there are."""

import tracemalloc
from pathlib import Path

import pytest

from retriever.sources import open_source
from tests.retriever.sources import corpora
from tests.retriever.sources.corpora import WRITERS


@pytest.mark.parametrize(
    ("form", "few"),
    [
        ("kilt", 2_000),
        ("dpr", 2_000),
        ("wikiextractor", 1_000),
        ("wikiextractor in a tar", 300),
        ("mediawiki", 200),
    ],
)
def test_memory_does_not_grow_with_the_corpus(form: str, few: int, tmp_path: Path) -> None:
    name, write = WRITERS[form]
    path = tmp_path / "corpus"
    path.write_bytes(write(corpora.many_pages(10 * few)))
    source = open_source(name, path)
    tracemalloc.start()
    peak_of_few = 0
    for number, _ in enumerate(source.pages(), 1):
        if number == few:
            peak_of_few = tracemalloc.get_traced_memory()[1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 2_000 * few
    assert peak - peak_of_few < 200 * few + (1 << 18)  # hashes of ids: a set of 4,096, 8 bytes each
