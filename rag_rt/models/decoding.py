"""What generation needs of a model: rows that hold a sequence, and two ways to write to them.

Glossary: V vocabulary, n tokens of one row in one step.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from torch import Tensor


class Row(Protocol):
    """Keys and values of one sequence, opened and written by a decoder."""

    @property
    def length(self) -> int:
        """The number of tokens held."""
        ...

    @property
    def capacity(self) -> int:
        """The number of tokens that there is room for."""
        ...

    def truncate(self, length: int) -> None:
        """Forget the tokens after the first `length`, of which there are at least so many."""
        ...


R = TypeVar("R", bound=Row)


class Decoder(Protocol[R]):
    """A causal language model that reads and writes rows of its own kind, and keeps no other state.

    Appending more tokens to a row than it has room for is an error of the caller.
    """

    @property
    def vocabulary(self) -> int:
        """V, the number of logits of a token."""
        ...

    @property
    def context(self) -> int:
        """The most tokens that a sequence may have."""
        ...

    @property
    def precision(self) -> str:
        """Of the weights, as "bfloat16" or "int4"; answers depend on it."""
        ...

    @property
    def exact(self) -> bool:
        """Whether `step` gives the same bits whatever else is in the call.

        Where it does, the logits after a token depend on the tokens before it and on how those were
        appended (read or stepped), not on other rows nor on the tokens after it. Drafts change an
        answer by nothing only then: elsewhere two nearly equal logits can change places.
        """
        ...

    def open_row(self, capacity: int) -> R:
        """An empty row with room for `capacity` tokens."""
        ...

    def read(self, row: R, ids: Sequence[int]) -> Tensor:
        """Append a slice of a text to a row; many tokens at a time are read fastest.

        Returns:
            float32 logits (V,) after the last token.
        """
        ...

    def step(self, rows: Sequence[tuple[R, Sequence[int]]]) -> list[Tensor]:
        """Append a few tokens to each of several rows, the last written token and its drafts.

        Returns:
            For each row float32 logits (n, V), one line after each of its n tokens.
        """
        ...
