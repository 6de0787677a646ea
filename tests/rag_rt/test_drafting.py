from hypothesis import given
from hypothesis import strategies as st

from rag_rt.drafting import FEWEST_TOKENS, FIRST_TOKENS, LONGEST_MATCH, MOST_TOKENS, Drafter

Tokens = st.lists(st.integers(0, 1), max_size=40) | st.lists(
    st.integers(0, 2), min_size=30, max_size=40
)


def best_match(tokens: list[int]) -> int | None:
    """The place after the longest match of the end (2 to 4 tokens), the latest of equals."""
    for length in range(min(LONGEST_MATCH, len(tokens)), 1, -1):
        for place in range(len(tokens) - 1, length - 1, -1):
            if tokens[place - length : place] == tokens[-length:]:
                return place
    return None


@given(Tokens, st.integers(0, FIRST_TOKENS))
def test_a_draft_follows_the_latest_of_the_longest_matches(tokens: list[int], most: int) -> None:
    place = best_match(tokens)
    expected = [] if place is None else tokens[place : place + most]
    assert Drafter(tokens).draft(most) == expected


@given(Tokens, Tokens, st.data())
def test_what_was_forgotten_is_not_drafted(
    first: list[int], second: list[int], data: st.DataObject
) -> None:
    length = data.draw(st.integers(0, len(first)))
    rewound = Drafter(first)
    rewound.draft(4)
    rewound.truncate(length)
    rewound.extend(second)
    assert rewound.draft(8) == Drafter(first[:length] + second).draft(8)


def test_drafts_grow_while_they_are_right_and_shrink_when_they_are_not() -> None:
    drafter = Drafter([*range(100), 0, 1])
    lengths = []
    for accepted in (8, 16, 3, 0, 2):
        lengths.append(len(drafter.draft(100)))
        drafter.learn(lengths[-1], accepted)
    assert lengths == [FIRST_TOKENS, MOST_TOKENS, MOST_TOKENS, 4, FEWEST_TOKENS]
    assert len(drafter.draft(100)) == 2 * FEWEST_TOKENS


def test_a_turn_without_a_draft_teaches_nothing() -> None:
    drafter = Drafter([*range(100), 0, 1])
    drafter.learn(0, 0)
    assert len(drafter.draft(100)) == FIRST_TOKENS


def test_of_a_match_in_hundreds_of_places_some_are_compared() -> None:
    drafter = Drafter([1, 2, 3, 4, 5] + [1, 2] * 10_000)
    assert drafter.draft(4) == [1, 2]
