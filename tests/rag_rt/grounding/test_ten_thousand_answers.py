"""Every span and every quote of 10,000 answers, with vectors that cost nothing.

Spans do not depend on what vectors say, so those of the real encoder are left to other tests.
"""

import json
import random
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from rag_rt.answers import Claim, Sentence
from rag_rt.evidence import EvidencePool
from rag_rt.grounding import Grounder
from retriever import Hit
from retriever.encoders import Encoder, Progress, TokenVectors, Vectors
from retriever.sentences import sentence_spans
from tests.conftest import make_hit
from tests.rag_rt.grounding.test_grounder import MARS, SEA, WINE, assert_valid

POOLS = 40


class HashedEncoder(Encoder):
    """Vectors of words by their hash; the tokens are runs of letters, or single other signs."""

    dimension = 8

    def __init__(self) -> None:
        self._table: Vectors = np.random.default_rng(0).normal(size=(997, 8)).astype(np.float32)
        self._table /= np.linalg.norm(self._table, axis=1, keepdims=True)

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        sums = [self._table[zlib.crc32(t.encode()) % 997] for t in texts]
        return np.array(sums, dtype=np.float32).reshape(-1, 8)

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        return [self._tokens(text) for text in texts]

    def _tokens(self, text: str) -> TokenVectors:
        found = list(re.finditer(r"\w+|[^\w\s]", text))[:256]
        rows = np.array([zlib.crc32(m.group().encode()) % 997 for m in found], dtype=np.int64)
        vectors = self._table[rows]
        starts = np.array([m.start() for m in found], dtype=np.int64)
        return TokenVectors(starts, rows, (vectors, vectors, vectors))


@pytest.mark.parametrize("answers", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_span_and_no_quote_of_ten_thousand_answers_is_invalid(
    request: pytest.FixtureRequest, answers: int
) -> None:
    encoder = HashedEncoder()
    order = random.Random(0)
    real = list(real_answers(request.config.rootpath.parent / "shared/data"))
    pools = [EvidencePool.gather("Why?", hits(order, real), encoder) for _ in range(POOLS)]
    grounders = [Grounder(pool, encoder) for pool in pools]
    sentences = quotes = 0
    for number in range(answers):
        pool, grounder = pools[number % POOLS], grounders[number % POOLS]
        answer = answer_for(order, real, pool)
        for start, end in sentence_spans(answer):
            sentence = grounder.ground(answer, start, end)
            assert (sentence.start, sentence.end) == (start, end)
            every: list[Sentence | Claim] = [sentence, *sentence.claims]
            for found in every:
                assert start <= found.start <= found.end <= end
                assert_valid(found, pool)
                quotes += len(found.evidence)
            sentences += 1
    assert sentences > answers
    assert quotes > answers / 4


def real_answers(data: Path) -> Iterator[str]:
    """Gold answers and those of six systems, where the data is; else those of this file alone."""
    yield from (SEA, WINE, MARS)
    if not data.is_dir():
        return
    for line in (data / "nq-long/dev.jsonl").read_text().splitlines():
        yield json.loads(line)["output"][0]["answer"]
    for line in (data / "eli5/dev.jsonl").read_text().splitlines():
        yield json.loads(line)["output"][0]["answer"][:400]
    for line in (data / "grounding/human_support_dev.jsonl").read_text().splitlines():
        yield " ".join(json.loads(line)["sentences"][:3])


def hits(order: random.Random, real: list[str]) -> list[Hit]:
    texts = [*order.sample(real, 2), odd_text(order), ""]
    return [make_hit(text, title=odd_text(order), rank=n) for n, text in enumerate(texts, 1)]


def answer_for(order: random.Random, real: list[str], pool: EvidencePool) -> str:
    """A text of one of four kinds: real, quoted from the passages, random, or all of them mixed."""
    quoted = order.choice(pool.sentences).text
    kinds = (order.choice(real)[:300], quoted, odd_text(order))
    return order.choice((*kinds, odd_text(order) + quoted + " " + kinds[0][:100]))


def odd_text(order: random.Random) -> str:
    """Any characters but surrogates, marks that end sentences among them."""
    length = order.randrange(40)
    letters = (
        chr(order.choice((order.randrange(0x250), order.randrange(sys.maxunicode + 1))))
        for _ in range(length)
    )
    marks = (
        order.choice(
            (" ", ". ", "! ", "。", "\n", ", and ", "; ", "’", "\u0301", "\u200d", "10", "not ")
        )
        for _ in range(length)
    )
    text = "".join(piece for pair in zip(letters, marks, strict=True) for piece in pair)
    return text.encode("utf-8", "ignore").decode()
