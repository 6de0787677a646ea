from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retriever import page_table
from retriever.page_table import PageTable
from retriever.passages import PassageStore
from tests.conftest import make_hit

PASSAGE = make_hit("Text.").passage
IDS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(IDS, st.integers(1, 4), max_size=30), IDS, st.integers(1, 64))
def test_the_rows_of_every_page_are_found_and_no_other(
    pages: dict[str, int], other: str, bits: int
) -> None:
    """Also where digests of a few bits make many ids alike, which the caller tells apart."""
    ids = [page_id for page_id, count in pages.items() for _ in range(count)]
    whole = page_table._digest
    with TemporaryDirectory() as folder:
        try:
            page_table._digest = lambda page_id: whole(page_id) >> np.uint64(64 - bits)
            path = Path(folder) / "pages.npy"
            assert PageTable.write(iter(ids), path) == len(pages)
            table = PageTable(path)
            for page_id, count in pages.items():
                found = [rows for rows in table.candidates(page_id) if ids[rows[0]] == page_id]
                assert found == [range(ids.index(page_id), ids.index(page_id) + count)]
            found = [rows for rows in table.candidates(other) if ids[rows[0]] == other]
            assert len(found) == (other in pages)
        finally:
            page_table._digest = whole


@given(st.lists(st.tuples(IDS, IDS), max_size=30))
def test_passages_are_read_as_they_were_written(texts: list[tuple[str, str]]) -> None:
    passages = [
        replace(PASSAGE, id=str(number), page_id=title, title=title, text=text)
        for number, (title, text) in enumerate(texts)
    ]
    with TemporaryDirectory() as folder:
        PassageStore.write(passages, Path(folder) / "passages.arrow")
        store = PassageStore(Path(folder) / "passages.arrow")
        assert len(store) == len(passages)
        assert store.take(range(len(passages))[::-1]) == passages[::-1]
        assert list(store.page_ids()) == [title for title, _ in texts]
        assert list(store.texts()) == [f"{title}\n{text}" for title, text in texts]
