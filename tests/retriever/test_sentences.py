import pytest
from hypothesis import given
from hypothesis import strategies as st

from retriever.sentences import finished_spans, sentence_spans

# Pieces that make the rules collide: abbreviations, initials, openers, quotes, other scripts.
fragments = st.sampled_from(
    ["Dr.", "U.S.", "e.g.", "St.", "J.", "A", "Anderson", "The", "it", "3.14", "No.", "5", "salt",
     "Why?", "Yes!", '"Go."', "(see p.", "12)", "海は塩辛い。", "…", ".", "?!", "\n", "\n\n", " "]
)  # fmt: skip
texts = st.one_of(st.text(max_size=200), st.lists(fragments, max_size=30).map(" ".join))


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two.", ["One.", "Two."]),
        ("He met Dr. Smith. They spoke.", ["He met Dr. Smith.", "They spoke."]),
        ("In the U.S. the law differs.", ["In the U.S. the law differs."]),
        ("It left the U.S. The law stayed.", ["It left the U.S.", "The law stayed."]),
        ("J. R. R. Tolkien wrote it.", ["J. R. R. Tolkien wrote it."]),
        ("Pi is 3.14 or so. Fine.", ["Pi is 3.14 or so.", "Fine."]),
        ("Is it? Yes! Good.", ["Is it?", "Yes!", "Good."]),
        ('He said "go." Then he left.', ['He said "go."', "Then he left."]),
        ("a heading\nA text.", ["a heading", "A text."]),
        ("海は塩辛い。なぜか。", ["海は塩辛い。", "なぜか。"]),
        ("It grew (e.g. in Rome). It fell.", ["It grew (e.g. in Rome).", "It fell."]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(texts)
def test_spans_hold_every_visible_character_once_and_in_order(text: str) -> None:
    spans = sentence_spans(text)
    ends = [0, *(end for _, end in spans)]
    assert all(before <= start < end for before, (start, end) in zip(ends, spans, strict=False))
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() for sentence in sentences(text))


@given(texts, st.data())
def test_a_finished_sentence_stays_as_it_is_however_the_text_goes_on(
    text: str, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(text)))
    finished = finished_spans(text[:cut])
    assert sentence_spans(text)[: len(finished)] == finished


def test_a_sentence_is_finished_once_the_next_one_has_begun() -> None:
    assert finished_spans("It is salt. The") == []
    assert finished_spans("It is salt. The sea") == [(0, 11)]


def test_a_long_run_of_end_marks_is_read_once() -> None:
    assert sentence_spans("." * 500_000 + "x") == [(0, 500_001)]  # hours, if read from each of them
