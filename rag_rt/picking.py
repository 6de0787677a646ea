"""Choosing the sentences of the passages that an answer is made of."""

import numpy as np

from rag_rt.evidence import EvidencePool
from rag_rt.words import content_words

PICKED_SENTENCES = 5
# Cosines to the best hit's topic, read off ten questions (docs/LOG.md): what helps reaches down to
# 0.30, homonyms (cosmic inflation, the planet Mercury, the island Java) reach up to 0.50.
TOPIC_FLOOR = 0.3
SENSE_FLOOR = 0.55
RELEVANCE_WEIGHT = 0.7  # maximal marginal relevance (Carbonell and Goldstein 1998): λ
SAME_SENTENCE = 0.95  # cosine from which two sentences say the same


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


def pick_sentences(pool: EvidencePool, count: int = PICKED_SENTENCES) -> list[int]:
    """Rows of the sentences that tell most about the question and least twice, in reading order."""
    allowed = set(on_topic(pool))
    candidates = [row for row, s in enumerate(pool.sentences) if s.hit in allowed]
    relevance = pool.vectors @ pool.question_vector  # (N,)
    redundancy = np.zeros_like(relevance)  # (N,): greatest cosine to a sentence picked before
    picked: list[int] = []
    while candidates and len(picked) < count:
        gain = RELEVANCE_WEIGHT * relevance - (1 - RELEVANCE_WEIGHT) * redundancy
        best = max(candidates, key=lambda row: float(gain[row]))
        picked.append(best)
        redundancy = np.maximum(redundancy, pool.vectors @ pool.vectors[best])
        candidates = [row for row in candidates if redundancy[row] < SAME_SENTENCE]
    return sorted(picked)
