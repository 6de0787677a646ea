import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.errors import InvalidRequest
from rag_rt.requests import MAX_QUESTION, Request


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("question", ""),
        ("question", " \n\t"),
        ("question", "?!… —"),
        ("question", "a" * 100_000),
        ("question", "half a character \ud83d"),
        ("k", 0),
        ("k", 10**6),
        ("max_tokens", 0),
        ("max_tokens", 10**9),
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_p", math.nan),
        ("repetition_penalty", 0.0),
        ("seed", -1),
        ("seed", 2**63),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        Request(**{"question": "Why?", field: value})
    assert refusal.value.field == field


@given(st.text(min_size=1, max_size=MAX_QUESTION))
def test_a_question_is_taken_as_it_is_or_refused(text: str) -> None:
    if any(character.isalnum() for character in text):
        assert Request(text).question == text
    else:
        with pytest.raises(InvalidRequest, match="question"):
            Request(text)
