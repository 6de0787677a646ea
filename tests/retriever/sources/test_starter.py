import pytest

from retriever.errors import StarterPackMissing
from retriever.sources import open_source
from retriever.starter_pack import locate


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
