"""How far figures over a sample of questions can be trusted: intervals and paired tests.

Resampling takes whole questions, the unit that KILT averages over. Everything is seeded, so equal
files give equal numbers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Interval = tuple[float, float]

LEVEL = 0.95
# The percentile bootstrap's usual thousand (Efron & Tibshirani 1993, ch. 13), doubled.
RESAMPLES = 2_000
# Fewer questions never get a sign-flip test under 1 - LEVEL: two of 2**6 draws are 3 %.
FEWEST_TO_TELL = 6
# The smallest p-value that can come out is one in this many, plus one.
PERMUTATIONS = 10_000
# Two means of the same numbers, summed in another order, may differ in their last bits.
_ROUNDING = 1e-12
# Numbers drawn at a time, which bounds memory.
_DRAWN_AT_ONCE = 1 << 20


def bootstrap_intervals(values: Values, seed: int) -> list[Interval | None]:
    """95 % percentile intervals of the mean of each column of `values` (questions, metrics).

    None where there are no questions to draw from.
    """
    if not len(values):
        return [None] * values.shape[1]
    return _intervals(_resampled_means(values, np.random.default_rng(seed)))


def bootstrap_gaps(a: Values, b: Values, seed: int) -> list[Interval | None]:
    """95 % percentile intervals of the mean of b minus that of a, which hold other questions.

    Both are (questions, metrics) and are resampled apart. None where one has no questions.
    """
    if not len(a) or not len(b):
        return [None] * a.shape[1]
    rng = np.random.default_rng(seed)
    return _intervals(_resampled_means(b, rng) - _resampled_means(a, rng))


def bootstrap_ratio(parts: Values, wholes: Values, seed: int) -> Interval | None:
    """95 % percentile interval of sum(parts) / sum(wholes), (questions,) each.

    A question without a whole counts for nothing; None where none has one.
    """
    kept = wholes > 0
    if not kept.any():
        return None
    table = np.stack((parts[kept], wholes[kept]), axis=1)
    means = _resampled_means(table, np.random.default_rng(seed))
    return _intervals(means[:, :1] / means[:, 1:])[0]


def _resampled_means(values: Values, rng: np.random.Generator) -> Values:
    """The means (resamples, metrics) of questions drawn with replacement."""
    questions, metrics = values.shape
    means = np.empty((RESAMPLES, metrics))
    for resample in range(RESAMPLES):
        # How often each question is drawn, so that no copy of the values is made.
        drawn = np.bincount(rng.integers(questions, size=questions), minlength=questions)
        means[resample] = drawn @ values / questions
    return means


def _intervals(means: Values) -> list[Interval | None]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, (tail, 1 - tail), axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def permutation_p_values(differences: Values, seed: int) -> Values:
    """Two-sided p-values (metrics,) of mean differences (questions, metrics) being 0.

    If the two systems were interchangeable on every question, so would be the signs: they are
    flipped at random (approximate randomisation, Noreen 1989), the observed ones being one draw.
    """
    questions, metrics = differences.shape
    observed = np.abs(differences.sum(axis=0))
    threshold = observed * (1 - _ROUNDING) - _ROUNDING
    rng = np.random.default_rng(seed)
    at_least = np.ones(metrics)
    batch = max(1, min(PERMUTATIONS, _DRAWN_AT_ONCE // max(1, questions)))
    for start in range(0, PERMUTATIONS, batch):
        size = (min(batch, PERMUTATIONS - start), questions)
        signs = rng.integers(0, 2, size=size, dtype=np.int8) * np.int8(2) - np.int8(1)
        at_least += (np.abs(signs @ differences) >= threshold).sum(axis=0)
    return at_least / (PERMUTATIONS + 1)


@dataclass(frozen=True, slots=True)
class PairedResult:
    """One metric of two systems a and b on the same questions; `difference` is b minus a.

    `better` and `worse` count the questions on which b is so. The interval is None without any.
    """

    difference: float
    interval: Interval | None
    p_value: float
    better: int
    worse: int


def compare_paired(a: Values, b: Values, seed: int) -> list[PairedResult]:
    """Compare two systems, question by question, on every column of (questions, metrics)."""
    differences = b - a
    intervals = bootstrap_intervals(differences, seed)
    p_values = permutation_p_values(differences, seed)
    count = max(1, len(differences))
    return [
        PairedResult(
            difference=float(differences[:, metric].sum() / count),
            interval=intervals[metric],
            p_value=float(p_values[metric]),
            better=int((differences[:, metric] > 0).sum()),
            worse=int((differences[:, metric] < 0).sum()),
        )
        for metric in range(differences.shape[1])
    ]
