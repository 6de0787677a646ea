import json
import lzma
from dataclasses import replace
from itertools import accumulate, islice
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from retriever.passages import Page, Passage
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


@given(st.lists(texts, max_size=12))
def test_kilts_offsets_give_the_passage_out_of_the_records_paragraphs(
    paragraphs: list[str],
) -> None:
    record = ["Sea\n", *paragraphs]  # paragraph 0 is the title line
    starts = tuple(accumulate(map(len, paragraphs[:-1]), initial=0))
    whole = replace(page("".join(paragraphs)), paragraph_starts=starts)
    for passage in split_page(whole):
        assert text_at(record, passage) == passage.text


def text_at(record: list[str], passage: Passage) -> str:
    """What stands at a passage's paragraph and character offsets."""
    first, last = passage.start_paragraph_id, passage.end_paragraph_id
    assert first is not None
    assert last is not None
    between = record[first : last + 1]
    between[-1] = between[-1][: passage.end_character]
    between[0] = between[0][passage.start_character :]
    return "".join(between)


def test_passages_of_the_mini_knowledge_source_stand_where_they_say(shared: Path) -> None:
    path = shared / "data" / "wikipedia" / "mini_kilt_knowledgesource.jsonl.xz"
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line, real in zip(islice(lines, 100), open_source("kilt", path).pages(), strict=False):
            for passage in split_page(real):
                assert text_at(json.loads(line)["text"], passage) == passage.text


def test_a_passage_of_a_page_without_paragraphs_says_so() -> None:
    (passage,) = split_page(page("One."))
    assert (passage.start_paragraph_id, passage.end_character) == (None, None)


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
