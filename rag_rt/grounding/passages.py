"""The passages of one pool, read once: their words, their n-grams, the vectors of their tokens."""

from collections.abc import Iterator

import numpy as np

from rag_rt.evidence import EvidencePool
from rag_rt.grounding.checks import spelled_numbers
from rag_rt.words import all_stems, content_words
from retriever.encoders import Encoder, Vectors
from retriever.sentences import sentence_spans

Ngram = tuple[str, ...]

_BLOCK = 900  # characters encoded together: about 200 of the encoder's 256 tokens


class ReadPassages:
    """What a claim is compared with. U tokens of all passages, S sentences, D dimension."""

    def __init__(self, pool: EvidencePool, encoder: Encoder) -> None:
        self.pool = pool
        titled = [f"{hit.passage.title}\n{hit.passage.text}" for hit in pool.hits]
        stems = [all_stems(text) for text in titled]
        self.words = frozenset[str]().union(*map(content_words, titled))
        self.numbers = frozenset[str]().union(*map(spelled_numbers, titled))
        self.bigrams = frozenset(gram for text in stems for gram in ngrams(text, 2))
        self.trigrams = frozenset(gram for text in stems for gram in ngrams(text, 3))
        self.sentence_words = [content_words(sentence.text) for sentence in pool.sentences]
        self.beyond_question = beyond(pool.vectors, pool.question_vector)  # (S, D)
        blocks = [(n, b) for n, hit in enumerate(pool.hits) for b in _blocks(hit.passage.text)]
        tokens = encoder.encode_tokens([block for _, block in blocks])
        lengths = [len(block.ids) for block in tokens]
        owners = np.repeat([number for number, _ in blocks], lengths)  # (U,)
        self.first_tokens = np.unique(owners, return_index=True)[1]
        """(H,) where the tokens of each passage begin; passages without any are left out."""
        self.layers = [
            np.concatenate([block.layers[layer] for block in tokens])
            if tokens
            else np.empty((0, encoder.dimension), np.float32)
            for layer in range(3)
        ]
        """Three times (U, D): see `TokenVectors`."""

    def __bool__(self) -> bool:
        return bool(self.pool.sentences) and len(self.layers[0]) > 0


def ngrams(words: list[str], size: int) -> Iterator[Ngram]:
    """All runs of `size` words."""
    return zip(*(words[first:] for first in range(size)), strict=False)


def beyond(vectors: Vectors, question: Vectors) -> Vectors:
    """Unit vectors (N, D) of what remains of `vectors` without their part along `question` (D,).

    On-topic sentences are all near to the question; this compares what they say about it.
    """
    rest = vectors - np.outer(vectors @ question, question)
    unit: Vectors = rest / np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-6)
    return unit


def _blocks(text: str) -> Iterator[str]:
    """The text in pieces of whole sentences of at most `_BLOCK` characters, longer ones cut."""
    begun = reached = 0
    for _, end in sentence_spans(text):
        if end - begun > _BLOCK and reached > begun:
            yield text[begun:reached]
            begun = reached
        reached = end
    for first in range(begun, len(text), _BLOCK) if len(text) - begun > _BLOCK else [begun]:
        yield text[first : first + _BLOCK]
