import bz2
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from retriever.errors import SourceError
from retriever.training_data import (
    Example,
    HeldOut,
    Text,
    hold_out,
    parse_example,
    read_examples,
    without_overlap,
)

KILT = {
    "id": "1",
    "input": "Why is the ocean salty?",
    "output": [
        {"answer": "Rivers carry salts.", "provenance": [{"wikipedia_id": "7", "title": "Ocean"}]},
        {"answer": "Rivers carry salts."},
        {"answer": "Vents add more.", "provenance": [{"wikipedia_id": 8}]},
        {"provenance": [{"title": "Salt"}]},
    ],
}
PLAIN = {
    "question": "What is gold?",
    "positive": {"text": "A metal.", "title": "Gold", "page_id": "12"},
    "negatives": ["Not this.", {"text": "Nor that.", "title": "Silver"}],
}


def test_answers_of_a_kilt_record_are_positives_and_its_provenance_pages() -> None:
    assert parse_example(KILT) == Example(
        "Why is the ocean salty?",
        (Text("", "Rivers carry salts."), Text("", "Vents add more.")),
        pages=frozenset({"7", "8", "Ocean", "Salt"}),
    )


def test_a_plain_object_tells_positive_and_negatives() -> None:
    assert parse_example(PLAIN) == Example(
        "What is gold?",
        (Text("Gold", "A metal."),),
        (Text("", "Not this."), Text("Silver", "Nor that.")),
        frozenset({"Gold", "12"}),
    )
    assert parse_example({"question": "q", "positive": "p"}) == Example("q", (Text("", "p"),))


def test_real_eli5_is_read_compressed(shared: Path) -> None:
    examples = read_examples(shared / "data" / "eli5" / "train.jsonl.xz")
    assert len(examples) == 3_500
    assert all(example.positives and not example.pages for example in examples)


@pytest.mark.parametrize("compress", [lzma.compress, bz2.compress, bytes])
def test_a_damaged_line_is_named(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "data"
    path.write_bytes(compress(json.dumps(PLAIN).encode() + b"\n{nonsense\n"))
    with pytest.raises(SourceError, match=r"data, line 2: .*expected a KILT record"):
        read_examples(path)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ([], "not a JSON object"),
        ({}, "'input' is missing"),
        ({"input": " "}, "'input' is missing, empty"),
        ({"input": "q"}, "'output' is not a list"),
        ({"input": "q", "output": ["a"]}, "'output' is not a list of objects"),
        ({"input": "q", "output": []}, "the record has no answer"),
        ({"input": "q", "output": [{"answer": 3}]}, "'answer' is missing, empty or not text"),
        ({"input": "q", "output": [{"answer": "a", "provenance": {}}]}, "'provenance' is not"),
        ({"question": "", "positive": "p"}, "'question' is missing"),
        ({"question": "q"}, "'positive' is missing"),
        ({"question": "q", "positive": {"title": "t"}}, "'positive' is missing"),
        ({"question": "q", "positive": {"title": 1, "text": "t"}}, "title of 'positive' is not"),
        ({"question": "q", "positive": "p", "negatives": "n"}, "'negatives' is not a list"),
        ({"question": "q", "positive": "p", "negatives": [""]}, "a negative is missing, empty"),
    ],
)
def test_what_is_no_example_is_said(tmp_path: Path, record: Any, problem: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f"{json.dumps(PLAIN)}\n{json.dumps(record)}\n")
    with pytest.raises(SourceError, match=f"line 2: .*{problem}"):
        read_examples(path)


def test_files_that_hold_nothing_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(SourceError, match="is empty"):
        read_examples(tmp_path / "empty.jsonl")
    with pytest.raises(SourceError, match="cannot be read"):
        read_examples(tmp_path / "none.jsonl")
    whole = lzma.compress(json.dumps(PLAIN).encode() * 100)
    (tmp_path / "cut.xz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="cut short or damaged"):
        read_examples(tmp_path / "cut.xz")


few = st.integers(0, 12).map(str)
examples = st.builds(
    Example,
    few,
    st.lists(st.builds(Text, st.just(""), few), min_size=1, max_size=2).map(tuple),
    pages=st.frozensets(few, max_size=2),
)


@given(st.lists(examples, min_size=1, max_size=20), st.floats(0, 0.5), st.integers(0, 9))
def test_no_page_question_or_text_is_on_both_sides(
    data: list[Example], share: float, seed: int
) -> None:
    try:
        training, held_out = hold_out(data, share, seed)
    except SourceError:
        reject()
    assert (training, held_out) == hold_out(data, share, seed)
    assert len(held_out) == max(1, round(share * len(data)))
    for one in training:
        assert one in data
        for other in held_out:
            assert one.question != other.question
            assert not one.pages & other.pages
            assert not set(one.positives) & set(other.positives)


def test_nothing_left_to_train_on_is_an_error() -> None:
    example = parse_example(PLAIN)
    with pytest.raises(SourceError, match="none is left to train on"):
        without_overlap([example], [example])


@given(st.lists(examples, min_size=1, max_size=20))
def test_the_pool_holds_every_text_once_and_knows_whose_it_is(data: list[Example]) -> None:
    held_out = HeldOut.of(data)
    assert len(set(held_out.pool)) == len(held_out.pool)
    for example, row in zip(data, held_out.relevant, strict=True):
        found = {text for text, right in zip(held_out.pool, row, strict=True) if right}
        assert found == set(example.positives)
