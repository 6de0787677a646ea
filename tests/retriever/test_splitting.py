from hypothesis import given
from hypothesis import strategies as st

from retriever.passages import Page
from retriever.sources import open_source
from retriever.splitting import MAX_WORDS, split_page

words = st.sampled_from(["salt", "sea", "The", "Dr.", "end.", "why?", "\n", "1.5", "海。"])
texts = st.lists(words, max_size=600).map(" ".join)


def page(text: str) -> Page:
    return Page(id="7", title="Sea", text=text, url="https://en.wikipedia.org/wiki/Sea")


@given(texts)
def test_passages_hold_every_word_of_the_page_once_at_their_offsets(text: str) -> None:
    passages = list(split_page(page(text)))
    assert [word for p in passages for word in p.text.split()] == text.split()
    for p in passages:
        assert text[p.start : p.end] == p.text
        assert 1 <= len(p.text.split()) <= MAX_WORDS


def test_a_passage_ends_with_a_sentence_though_it_could_hold_more_words() -> None:
    sentence = "Word " + "word " * 58 + "end. "
    passages = list(split_page(page(sentence * 3)))
    assert [len(p.text.split()) for p in passages] == [60, 60, 60]
    assert all(p.text.endswith("end.") for p in passages)


def test_an_overlong_sentence_is_cut_at_word_borders() -> None:
    assert [len(p.text.split()) for p in split_page(page("word " * 250))] == [100, 100, 50]


def test_real_articles_are_split_without_loss() -> None:
    pages = list(open_source("starter").pages())
    assert len(pages) == 10_033
    for real in pages[::50]:
        passages = list(split_page(real))
        assert [w for p in passages for w in p.text.split()] == real.text.split()
        assert len({p.id for p in passages}) == len(passages)
