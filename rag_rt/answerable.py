"""Whether passages answer a question: a probability from how near they come to it.

`answerable.json` was fitted by `benchmarks/answerable.py --write`, which prints the figures.
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

ANSWERABLE = 0.1  # keeps 98 % of the answerable questions: see benchmarks/answerable.py
ANSWERABLE_MODEL = Path(__file__).with_name("answerable.json")

NAMES = (
    "best_sentence",  # greatest cosine of a sentence to the question
    "best_three",  # mean of the three greatest
    "title",  # greatest share of a title's words that are in the question
    "missing_words",  # content words of the question that no passage holds, at most three
    "missing_years",  # whether the question has a number of four digits that no passage holds
)

_MOST_MISSING = 3  # words; more say no more
_YEAR = re.compile(r"(?<![\d.,])\d{4}(?![\d.,]*\d)")
_BEGINNING = 6  # letters; "philosopher" is held where "philosophy" is


def answer_probability(pool: EvidencePool) -> float:
    """How likely the passages of a pool answer its question; 0 where they hold no sentence.

    It is calibrated on the mix of questions of benchmarks/answerable.py; callers compare it with
    `ANSWERABLE`. Passages on the subject that do not answer are told apart only as far as they are
    less near to the question than answers are.
    """
    if not pool.sentences:
        return 0.0
    return float(load_model().probabilities(measure(pool)[None])[0])


def measure(pool: EvidencePool) -> Floats:
    """The features `NAMES` (F,) of a pool with at least one sentence."""
    words = content_words(pool.question)
    titles = [content_words(hit.passage.title) for hit in pool.hits]
    texts = [f"{hit.passage.title} {hit.passage.text}" for hit in pool.hits]
    held = {_beginning(word) for text in texts for word in content_words(text)}
    years = set(_YEAR.findall(pool.question)).difference(*map(_YEAR.findall, texts))
    cosines = np.sort(pool.vectors @ pool.question_vector)
    values = (
        cosines[-1],
        cosines[-3:].mean(),
        max(len(title & words) / max(1, len(title)) for title in titles),
        min(_MOST_MISSING, sum(_beginning(word) not in held for word in words)),
        bool(years),
    )
    return np.array(values, dtype=np.float64)


def _beginning(word: str) -> str:
    return word[:_BEGINNING]


@cache
def load_model() -> LogisticModel:
    """The shipped coefficients."""
    return LogisticModel.load(ANSWERABLE_MODEL, NAMES)
