import numpy as np

from retriever.ranking_metrics import ranking_metrics

QUESTIONS, PASSAGES = 4, 30
RELEVANT = [
    [7],
    [17, 18],
    [4, 11, 15, 19, 29],
    [0, 2, 6, 7, 8, 15, 17, 18, 19, 20, 22, 24, 26, 28],
]
# trec_eval's recall_k, recip_rank and ndcg_cut_10 of these rankings, by pytrec_eval-terrier 0.5.11.
TREC_EVAL = {
    "recall@1": [0.0, 0.0, 0.2, 0.07142857142857142],
    "recall@5": [0.0, 0.0, 0.2, 0.14285714285714285],
    "recall@20": [1.0, 0.5, 0.6, 0.5714285714285714],
    "mrr": [0.05263157894736842, 0.05, 1.0, 1.0],
    "ndcg@10": [0.0, 0.0, 0.5392968862278849, 0.4658230948382866],
}


def test_metrics_are_those_of_trec_eval() -> None:
    similarities = np.array(
        [[(37 * i + 17) * (j + 1) % 31 / 31 for j in range(PASSAGES)] for i in range(QUESTIONS)],
        dtype=np.float32,
    )
    relevant = np.zeros((QUESTIONS, PASSAGES), dtype=np.bool_)
    for row, columns in enumerate(RELEVANT):
        relevant[row, columns] = True
    metrics = ranking_metrics(similarities, relevant)
    assert metrics.keys() == TREC_EVAL.keys()
    for name, values in metrics.items():
        np.testing.assert_allclose(values, TREC_EVAL[name], rtol=1e-12)


def test_a_pool_smaller_than_the_depths_is_measured_too() -> None:
    metrics = ranking_metrics(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.bool_))
    assert all((values == 1).all() for values in metrics.values())
