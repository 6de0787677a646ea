"""Fitting logistic models, in torch."""

import numpy as np
import torch

from benchmarks.support_data import Flags, Scores
from rag_rt.logistic import LogisticModel

RIDGE = 10.0  # on standardised coefficients: AUC and calibration are flat from 3 to 30
LEAST_RIDGE = 0.1  # where a single feature is calibrated
PENALTY_RIDGE = 1.0  # from 4 on, a swapped number keeps a probability above one half


def fit(features: Scores, supported: Flags, strength: float = RIDGE) -> LogisticModel:
    """The coefficients of least log loss with a ridge on standardised features.

    Args:
        features: (N, F).
        supported: (N,) what is to be predicted.
        strength: of the ridge.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    standard = np.column_stack([np.ones(len(features)), (features - mean) / scale])
    ridge = np.array([0.0] + [strength] * features.shape[1])
    solved = _solve(standard, supported, np.ones(len(features)), np.zeros(len(features)), ridge)
    coefficients = solved[1:] / scale
    return LogisticModel(coefficients, float(solved[0] - coefficients @ mean))


def fit_penalties(features: Scores, supported: Flags, logits: Scores) -> Scores:
    """What to add to the logits (N,) of a model that is held, for each of the features (N, F).

    Supported examples weigh as much as all the others.
    """
    weights = np.where(supported, 0.5 / supported.mean(), 0.5 / (~supported).mean())
    ridge = np.full(features.shape[1], PENALTY_RIDGE)
    return _solve(features, supported, weights, logits, ridge)


def _solve(
    features: Scores, supported: Flags, weights: Scores, logits: Scores, ridge: Scores
) -> Scores:
    x, y, w, offset, r = map(torch.from_numpy, (features, supported * 1.0, weights, logits, ridge))
    beta = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([beta], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            x @ beta + offset, y, w, reduction="sum"
        )
        total: torch.Tensor = losses + (r * beta.square()).sum() / 2
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    solved: Scores = beta.detach().numpy()
    return solved
