"""Texts into terms, as BM25 counts them; the index knows a term by a hash of its letters."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from bm25s.tokenization import Tokenizer

Integers = npt.NDArray[np.int64]
Terms = npt.NDArray[np.uint64]

STOP_WORDS = "english_plus"  # bm25s' long list
TITLE = 3  # a word in the title counts as often: more helps words alone, less both (docs/LOG.md)
_BREAK = "\n"


class Tokens(NamedTuple):
    """The terms of N texts, one after the other."""

    lengths: Integers
    """(N,) how many terms each text has."""
    places: Integers
    """(sum of lengths,) where in `terms` each is."""
    terms: Terms
    """(V,) the different terms, ascending."""


def tokenize_passages(texts: Sequence[str]) -> Tokens:
    """The terms of passages as encoders see them: a title, a line break, a text."""
    return tokenize([f"{text.partition(_BREAK)[0]}{_BREAK}" * (TITLE - 1) + text for text in texts])


def tokenize(texts: Sequence[str]) -> Tokens:
    """The terms of texts: words of two letters or digits at least, lower-cased, no stop words."""
    # A tokenizer remembers every word; a new one for these texts alone keeps memory bounded.
    tokenizer = Tokenizer(stopwords=STOP_WORDS)
    tokens = list(tokenizer.streaming_tokenize(texts, update_vocab=True, allow_empty=False))
    numbers = [number for text in tokens for number in text]
    hashes = np.array([_hash(word) for word in tokenizer.get_vocab_dict()], dtype=np.uint64)
    terms, places = np.unique(hashes, return_inverse=True)
    return Tokens(
        np.array([len(text) for text in tokens], dtype=np.int64),
        places[np.array(numbers, dtype=np.int64)],
        terms,
    )


def _hash(word: str) -> int:
    """64 bits; two of the 20 million words of the English Wikipedia share them once in 90,000."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
