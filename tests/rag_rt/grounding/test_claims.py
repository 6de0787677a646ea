import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.grounding.claims import claim_spans


@pytest.mark.parametrize(
    "claims",
    [
        ["Rivers carry salts into the sea.", "no cut"],
        ["Rivers carry salts into the sea", "while the sun draws pure water out."],
        ["Mars, Venus, Jupiter and Saturn are planets of the sun.", "no cut"],
        ["He was crowned in Paris", "because the pope came there himself."],
        ["Wine is made from grapes", "beer is made from barley."],
    ],
)
def test_a_sentence_is_cut_where_another_claim_begins(claims: list[str]) -> None:
    joint = {"while": ", ", "because": " ", "beer": "; "}
    text = claims[0]
    if claims[1] != "no cut":
        text += joint[claims[1].split()[0]] + claims[1]
    else:
        claims = claims[:1]
    assert [text[a:b] for a, b in claim_spans(text, 0, len(text))] == claims


pieces = st.text(max_size=10) | st.sampled_from([", and ", "; ", " because ", "word word word "])


@given(st.lists(pieces, max_size=12).map("".join), st.integers(0, 10), st.integers(0, 10))
def test_claims_are_disjoint_trimmed_and_hold_every_word(
    text: str, before: int, after: int
) -> None:
    start = min(before, len(text))
    end = max(start, len(text) - after)
    spans = claim_spans(text, start, end)
    reached = start
    for first, last in spans:
        assert reached <= first <= last <= end
        assert text[first:last] == text[first:last].strip()
        assert not any(letter.isalnum() for letter in text[reached:first])
        reached = last
    assert not text[reached:end].strip()
