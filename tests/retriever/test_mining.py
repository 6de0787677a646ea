import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retriever.building import build_index
from retriever.errors import SourceError
from retriever.index import Index
from retriever.mining import mine_negatives
from retriever.named_encoders import open_encoder
from retriever.passages import Hit
from retriever.searching import Retriever
from retriever.sources import open_source
from retriever.training_data import Example, Text
from tests.conftest import make_hit
from tests.retriever.training_setup import make_sentence_encoder

names = st.sampled_from(["Gold", "Ocean", "Salt", "12", "13"])
hits = st.lists(st.builds(make_hit, st.sampled_from("abcdef"), title=names), max_size=8).map(tuple)
examples = st.builds(
    Example,
    st.sampled_from(["gold?", "salt?"]),
    st.lists(st.builds(Text, names, st.sampled_from("abc")), min_size=1, max_size=2).map(tuple),
    st.lists(st.builds(Text, names, st.sampled_from("xyz")), max_size=2).map(tuple),
    st.frozensets(names, max_size=3),
)


class Found:
    """A searcher that finds the same for every question."""

    settings: Mapping[str, Any] = {}

    def __init__(self, hits: tuple[Hit, ...]) -> None:
        self.hits = hits

    def search_batch(self, questions: Sequence[str], k: int) -> list[tuple[Hit, ...]]:
        return [self.hits for _ in questions]


@given(st.lists(examples, min_size=1, max_size=5), hits)
def test_mined_negatives_are_of_other_pages_and_never_a_positive(
    data: list[Example], found: tuple[Hit, ...]
) -> None:
    if not any(example.pages for example in data):
        with pytest.raises(SourceError, match="no record tells the pages"):
            mine_negatives(data, Found(found))
        return
    for before, after in zip(data, mine_negatives(data, Found(found)), strict=True):
        assert (after.question, after.positives) == (before.question, before.positives)
        mined = [text for text in after.negatives if text not in before.negatives]
        pages = {text.title for text in mined}
        assert not pages & before.pages
        assert not {text.text for text in mined} & {text.text for text in before.positives}
        allowed = [
            hit
            for hit in found
            if hit.passage.title not in before.pages
            and hit.passage.text not in {text.text for text in before.positives}
        ]
        assert len(mined) == len({(h.passage.title, h.passage.text) for h in allowed}) * bool(
            before.pages
        )


def test_hits_of_an_index_on_other_pages_are_mined_best_first(tmp_path: Path) -> None:
    encoder = open_encoder(make_sentence_encoder(tmp_path / "encoder"), "float32")
    corpus = tmp_path / "corpus.jsonl"
    texts = {"Gold": "Gold is a metal.", "Ocean": "Ocean is salty.", "Cell": "Cells are units."}
    pages = [
        {"wikipedia_id": str(number), "wikipedia_title": title, "text": [title, text]}
        for number, (title, text) in enumerate(texts.items())
    ]
    corpus.write_text("".join(json.dumps(page) + "\n" for page in pages))
    build_index(open_source("kilt", str(corpus)), encoder, tmp_path / "index")
    retriever = Retriever(Index(tmp_path / "index"), encoder)
    example = Example("gold?", (Text("", "It shines."),), pages=frozenset({"0"}))
    (mined,) = mine_negatives([example], retriever)
    expected = [hit.passage.title for hit in retriever.search("gold?", 3)]
    expected.remove("Gold")
    assert [text.title for text in mined.negatives] == expected
    assert {text.text for text in mined.negatives} == {texts["Ocean"], texts["Cell"]}
