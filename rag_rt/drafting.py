"""Guesses at the next tokens, looked up in what was read and written (Saxena 2023).

An answer reuses words of its evidence, and a pass over several tokens costs little more than a pass
over one: the model reads the guess at once and says how far it would have written the same.
"""

from collections import defaultdict
from collections.abc import Sequence

# Chosen in benchmarks/drafting.py: what follows the longest match, the latest of equals, guessed
# twice as far after a guess that was right.
SHORTEST_MATCH = 2
LONGEST_MATCH = 4
MOST_TOKENS = 16
FEWEST_TOKENS = 2
FIRST_TOKENS = 8
MOST_PLACES = (
    64  # of one match that are compared; "of the" stands in a long prompt hundreds of times
)


class Drafter:
    """Drafts what follows one sequence, its prompt and its answer so far."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens: list[int] = []
        # Places after each run of `SHORTEST_MATCH` tokens, in order.
        self._places: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        self._reach = FIRST_TOKENS
        self.extend(tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Append to the sequence."""
        for token in tokens:
            self._tokens.append(token)
            self._places[self._run(len(self._tokens))].append(len(self._tokens))

    def truncate(self, length: int) -> None:
        """Forget the sequence after its first `length` tokens."""
        for end in range(len(self._tokens), length, -1):
            self._places[self._run(end)].pop()
        del self._tokens[length:]

    def draft(self, most: int) -> list[int]:
        """Tokens that may follow, at most `most`; often none."""
        end = len(self._tokens)
        places = self._places[self._run(end)][-MOST_PLACES - 1 : -1]  # the last is the end itself
        if not places:
            return []
        place = max(places, key=lambda place: (self._match(place), place))
        return self._tokens[place : place + max(0, min(most, self._reach))]

    def learn(self, drafted: int, accepted: int) -> None:
        """Hear how far the last draft was right."""
        if drafted and accepted == drafted:
            self._reach = min(2 * self._reach, MOST_TOKENS)
        elif drafted:
            self._reach = max(accepted + 1, FEWEST_TOKENS)

    def _run(self, end: int) -> tuple[int, ...]:
        return tuple(self._tokens[max(0, end - SHORTEST_MATCH) : end])

    def _match(self, place: int) -> int:
        """How many tokens before a place are those before the end, up to `LONGEST_MATCH`."""
        end = len(self._tokens)
        length = SHORTEST_MATCH
        while (
            length < min(LONGEST_MATCH, place)
            and self._tokens[place - length - 1] == self._tokens[end - length - 1]
        ):
            length += 1
        return length
