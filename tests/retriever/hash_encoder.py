from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from retriever.passages import Passage
from retriever.vectors import Progress, Vectors


class HashEncoder:
    """A text has one vector, which has nothing to do with its meaning; encoding takes no time."""

    name = "hash"
    fingerprint = question_fingerprint = "hash-16"
    dimension = 16
    cosine = True

    def encode_questions(self, questions: Sequence[str]) -> Vectors:
        vectors = np.array([_vector(question) for question in questions], dtype=np.float32)
        return vectors.reshape(-1, self.dimension)

    def encode_passages(
        self, passages: Sequence[Passage], progress: Progress | None = None
    ) -> Vectors:
        return self.encode_questions([f"{p.title}\n{p.text}" for p in passages])


def _vector(text: str) -> Vectors:
    seed = int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
    vector = np.random.default_rng(seed).standard_normal(HashEncoder.dimension)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)
