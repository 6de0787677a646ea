"""Fitting the logistic model of support, in torch."""

import numpy as np
import torch

from benchmarks.support_data import Flags, Scores
from rag_rt.grounding.model import LogisticModel

RIDGE = 10.0  # on standardised coefficients: AUC and calibration are flat from 3 to 30


def fit(features: Scores, supported: Flags, weights: Scores) -> LogisticModel:
    """The coefficients of least weighted log loss with a ridge on standardised features.

    Args:
        features: (N, F).
        supported: (N,) what is to be predicted.
        weights: (N,) of the examples.
    """
    mean = np.average(features, axis=0, weights=weights)
    scale = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weights)) + 1e-6
    x = torch.tensor((features - mean) / scale)
    y, w = torch.tensor(supported, dtype=torch.float64), torch.tensor(weights)
    beta = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([beta], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = x @ beta[1:] + beta[0]
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, w, reduction="sum")
        total: torch.Tensor = losses + RIDGE / 2 * beta[1:].square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    solved = beta.detach().numpy()
    coefficients = solved[1:] / scale
    return LogisticModel(coefficients, float(solved[0] - coefficients @ mean))
