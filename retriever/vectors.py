"""What encoders give and take, without the libraries that they compute with."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from retriever.passages import Passage

Vectors = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with the number of items done and the number of all items."""


class DualEncoder(Protocol):
    """Questions and passages into one space, where the inner product says how well they match."""

    name: str
    fingerprint: str
    """Of what makes the passages' vectors: an index is built from one fingerprint."""
    question_fingerprint: str
    """Of what makes the questions' vectors."""
    dimension: int
    cosine: bool
    """Whether vectors have length 1, so that their inner product is a cosine."""

    def encode_questions(self, questions: Sequence[str]) -> Vectors:
        """Vectors (N, D), float32, in the order of `questions`."""
        ...

    def encode_passages(
        self, passages: Sequence[Passage], progress: Progress | None = None
    ) -> Vectors:
        """Vectors (N, D), float32, in the order of `passages`."""
        ...
