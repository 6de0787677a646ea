"""Choosing the sentences of the passages that an answer is made of.

Each sentence has a chance to be a part of the answer, by a logistic model of how near it, its
neighbours and its passage come to the question. The likeliest are taken, up to the length of an
answer. `picking.json` was fitted by `benchmarks/picking.py --write`, which prints what it brings.

Glossary: S sentences of all passages, H passages, F features.
"""

import re
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rag_rt.evidence import EvidencePool
from rag_rt.logistic import LogisticModel
from rag_rt.words import content_words

Floats = npt.NDArray[np.float64]

PICKED_WORDS = 120  # benchmarks/picking.py: ROUGE-L is flat from 110 to 150
PICKED_SENTENCES = 8
PICKING_MODEL = Path(__file__).with_name("picking.json")
# Cosines to the best hit's topic, read off ten questions (docs/LOG.md): what helps reaches down to
# 0.30, homonyms (cosmic inflation, the planet Mercury, the island Java) reach up to 0.50.
TOPIC_FLOOR = 0.3
SENSE_FLOOR = 0.55
SAME_SENTENCE = 0.95  # cosine from which two sentences say the same

NAMES = (
    "cosine",  # to the question
    "beyond_passage",  # what it is above the mean of the passage
    "best_of_passage",
    "before",  # cosine of the sentence before it, or half of its own where there is none
    "after",
    "first_passage",  # whether the passage is the first hit
    "rank",  # log of 1 + the passage's place
    "behind_first",  # cosine of the passage minus that of the first hit
    "title",  # share of the title's words that are in the question
    "place",  # log of 1 + the sentence's place in the passage
    "length",  # log of its characters
)

_REFERS_BACK = re.compile(
    r"(?:it|they|he|she|this|these|those|his|her|their|its|such|both|the (?:former|latter|same))\b",
    re.IGNORECASE,
)


def pick_sentences(pool: EvidencePool, words: int = PICKED_WORDS) -> list[int]:
    """Rows of the sentences that likely make up an answer, in reading order.

    None says nearly the same as another, none begins with a word for what a sentence before it
    names unless that one is picked too, and all together have about so many `words` at most.
    """
    if not pool.sentences:
        return []
    chances = _model().probabilities(measure(pool))
    allowed = set(on_topic(pool))
    picked: list[int] = []
    left = words
    for row in np.argsort(-chances, kind="stable").tolist():
        if pool.sentences[row].hit not in allowed:
            continue
        rows = [r for r in _with_antecedents(pool, row) if r not in picked]
        length = sum(len(pool.sentences[r].text.split()) for r in rows)
        if picked and (length > left or len(picked) + len(rows) > PICKED_SENTENCES):
            break
        if not _is_known(pool, row, picked):
            picked += rows
            left -= length
    return sorted(picked)


def on_topic(pool: EvidencePool) -> list[int]:
    """The hits that are about what the best one is about, in rank order.

    A question's word often has several senses (inflation of prices, cosmic inflation), and
    sentences of another sense than the best hit's do harm. Another sense shows in a title that
    shares a word with the question over a text that is about something else.
    """
    topics = pool.topic_vectors()
    cosines = topics @ topics[0]
    words = content_words(pool.question)
    kept: list[int] = []
    for number, hit in enumerate(pool.hits):
        floor = SENSE_FLOOR if words & content_words(hit.passage.title) else TOPIC_FLOOR
        if hit.passage.page_id == pool.hits[0].passage.page_id or cosines[number] >= floor:
            kept.append(number)
    return kept


def measure(pool: EvidencePool) -> Floats:
    """The features `NAMES` (S, F) of the sentences of a pool, at least one."""
    cosines = (pool.vectors @ pool.question_vector).astype(np.float64)
    owners = np.array([sentence.hit for sentence in pool.sentences])
    begins = np.flatnonzero(np.diff(owners, prepend=-1))  # of each passage, in order
    passage = np.cumsum(np.diff(owners, prepend=-1) > 0) - 1  # (S,)
    sizes = np.diff(np.append(begins, len(owners)))
    best = np.maximum.reduceat(cosines, begins)[passage]
    mean = (np.add.reduceat(cosines, begins) / sizes)[passage]
    before = np.where(np.diff(owners, prepend=-1) == 0, np.roll(cosines, 1), cosines / 2)
    after = np.where(np.diff(owners, append=-1) == 0, np.roll(cosines, -1), cosines / 2)
    words = content_words(pool.question)
    titles = [content_words(hit.passage.title) for hit in pool.hits]
    shares = np.array([len(title & words) / max(1, len(title)) for title in titles])
    scores = np.array([hit.similarity - pool.hits[0].similarity for hit in pool.hits])
    place = np.arange(len(owners)) - begins[passage]
    lengths = np.array([len(sentence.text) for sentence in pool.sentences])
    columns = (
        cosines,
        cosines - mean,
        best,
        before,
        after,
        owners == 0,
        np.log1p(owners),
        scores[owners],
        shares[owners],
        np.log1p(place),
        np.log(lengths),
    )
    return np.column_stack(columns).astype(np.float64)


@cache
def _model() -> LogisticModel:
    return LogisticModel.load(PICKING_MODEL, NAMES)


def _with_antecedents(pool: EvidencePool, row: int) -> list[int]:
    """A sentence and those before it that name what it speaks of."""
    rows = [row]
    while _REFERS_BACK.match(pool.sentences[rows[0]].text):
        before = rows[0] - 1
        if before < 0 or pool.sentences[before].hit != pool.sentences[row].hit:
            break
        rows.insert(0, before)
    return rows


def _is_known(pool: EvidencePool, row: int, picked: list[int]) -> bool:
    if row in picked:
        return True
    return any((pool.vectors[picked] @ pool.vectors[row]) >= SAME_SENTENCE)
