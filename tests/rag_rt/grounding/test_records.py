import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.errors import InvalidRequest
from rag_rt.grounding.records import MAX_ANSWER, MAX_LINE, MAX_PASSAGES, read_records

PASSAGE = {"id": "p", "title": "Sea", "text": "The sea is salty."}
RECORD: dict[str, Any] = {"id": "a", "answer": "It is salty.", "passages": [PASSAGE]}


def read(content: bytes) -> list[Any]:
    return list(read_records(io.BytesIO(content), "answers.jsonl"))


def test_records_are_read_with_and_without_question_and_titles() -> None:
    lines = [RECORD, {**RECORD, "id": 7, "question": "Why?", "passages": [{"id": "q", "text": ""}]}]
    first, second = read("\n\n".join(map(json.dumps, lines)).encode())
    assert (first.id, first.question, first.hits[0].passage.title) == ("a", "", "Sea")
    assert (second.id, second.question, second.hits[0].passage.title) == (7, "Why?", "")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": None}, "'id' is missing or null"),
        ({"id": True}, "'id' is true or false"),
        ({"answer": 5}, "'answer' is a number"),
        ({"answer": "a" * (MAX_ANSWER + 1)}, "at most 100,000 are read"),
        ({"answer": "\ud800"}, "'answer' is not valid Unicode"),
        ({"passages": "p"}, "'passages' is a text"),
        ({"passages": [3]}, "passage 1 is a number"),
        ({"passages": [{"id": "p"}]}, "'text' is missing"),
        ({"passages": [PASSAGE, PASSAGE]}, "the same id"),
        ({"passages": [PASSAGE] * (MAX_PASSAGES + 1)}, "at most 200 are read"),
    ],
)
def test_a_wrong_record_is_named_by_file_and_line(change: dict[str, Any], complaint: str) -> None:
    content = f"{json.dumps(RECORD)}\n{json.dumps({**RECORD, **change})}\n".encode()
    with pytest.raises(InvalidRequest, match=r"^answers\.jsonl, line 2: ") as caught:
        read(content)
    assert complaint in str(caught.value)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    if content.strip():
        with pytest.raises(InvalidRequest, match=r"^answers\.jsonl, line "):
            read(content)
    else:
        assert read(content) == []


def test_deep_nesting_and_endless_lines_are_refused() -> None:
    for content in (b"[" * 100_000, b" " * (MAX_LINE + 1)):
        with pytest.raises(InvalidRequest, match="line 1"):
            read(content)
