"""How well passages are ranked for questions, as trec_eval counts it, relevance being yes or no."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from retriever.encoders import Vectors

RECALL_DEPTHS = (1, 5, 20)
GAIN_DEPTH = 10  # of nDCG, as BEIR and MS MARCO report it


def ranking_metrics(
    similarities: Vectors, relevant: npt.NDArray[np.bool_]
) -> Mapping[str, npt.NDArray[np.float64]]:
    """The metrics of each question (Q,), by name.

    `recall@k` is the share of a question's relevant passages among the first k, `mrr` one over the
    rank of the first relevant one, `ndcg@10` the discounted gain over the best possible one
    (trec_eval's recall_k, recip_rank and ndcg_cut_10). Of equal similarities the earlier passage
    stands first.

    Args:
        similarities: (Q, P) of questions and passages.
        relevant: (Q, P), at least one passage of each question.
    """
    order = np.argsort(-similarities, axis=1, kind="stable")
    found = np.take_along_axis(relevant, order, axis=1)  # (Q, P), best first
    count = found.sum(axis=1)
    metrics = {f"recall@{k}": found[:, :k].sum(axis=1) / count for k in RECALL_DEPTHS}
    metrics["mrr"] = 1 / (1 + found.argmax(axis=1))
    discounts = 1 / np.log2(2 + np.arange(min(GAIN_DEPTH, found.shape[1])))
    best = np.cumsum(discounts)[np.minimum(count, len(discounts)) - 1]
    metrics[f"ndcg@{GAIN_DEPTH}"] = found[:, : len(discounts)] @ discounts / best
    return metrics
