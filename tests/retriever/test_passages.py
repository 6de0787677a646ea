from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from retriever.passages import PassageStore
from tests.conftest import make_hit

PASSAGE = make_hit("Text.").passage


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True, max_size=30),
    st.text(),
)
def test_every_passage_is_found_by_its_id_and_no_other_is(ids: list[str], other: str) -> None:
    passages = [replace(PASSAGE, id=passage_id, start=n) for n, passage_id in enumerate(ids)]
    with TemporaryDirectory() as folder:
        PassageStore.write(passages, Path(folder) / "passages.arrow")
        store = PassageStore(Path(folder) / "passages.arrow")
        assert [store.find(passage_id) for passage_id in ids] == passages
        assert (store.find(other) is not None) == (other in ids)
