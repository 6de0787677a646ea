"""How often human judges agree with the grounding, beside cosine and word overlap alone.

Reads LFQA-Verification (Chen et al. 2023), one JSON object a line with `sentences`, `labels` and
`passages`. Run: python -m benchmarks.grounding_support human_support_dev.jsonl
"""

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rag_rt.evidence import EvidencePool
from rag_rt.grounding import THRESHOLD, Grounder
from rag_rt.words import content_words
from retriever import Hit, Passage
from retriever.encoders import Encoder

Scores = npt.NDArray[np.float64]


def main(path: Path) -> None:
    encoder = Encoder("starter")
    labels: list[bool] = []
    ours: list[float] = []
    cosine: list[float] = []
    overlap: list[float] = []
    for line in path.read_text().splitlines():
        record = json.loads(line)
        pool = EvidencePool.gather(record["question"], hits(record["passages"]), encoder)
        if not pool.sentences:
            continue
        grounder = Grounder(pool, encoder)
        bags = [content_words(sentence.text) for sentence in pool.sentences]
        cosines = encoder.encode(record["sentences"]) @ pool.vectors.T
        for text, label, row in zip(record["sentences"], record["labels"], cosines, strict=True):
            words = content_words(text)
            labels.append(label == "supported")
            ours.append(max(grounder.scores(text)))
            cosine.append(float(row.max()))
            overlap.append(max(len(words & bag) / max(1, len(words)) for bag in bags))
    truth = np.array(labels)
    print(
        f"{len(truth):,} sentences, {truth.mean():.0%} supported by the majority of three judges\n"
    )
    print("| score | ROC-AUC |\n|---|---|")
    for name, scores in {"ours": ours, "cosine": cosine, "word overlap": overlap}.items():
        print(f"| {name} | {roc_auc(np.array(scores), truth):.3f} |")
    called = np.array(ours) >= THRESHOLD
    print(
        f"\nAt the threshold {THRESHOLD}: {truth[called].mean():.0%} of the sentences called "
        f"supported are (precision), and {called[truth].mean():.0%} of the supported ones are "
        "called so (recall)."
    )


def hits(passages: list[dict[str, str]]) -> list[Hit]:
    return [
        Hit(Passage(p["id"], p["id"], p["title"], p["text"], "", 0, len(p["text"])), 0.0, rank)
        for rank, p in enumerate(passages, start=1)
    ]


def roc_auc(scores: Scores, truth: npt.NDArray[np.bool_]) -> float:
    """The chance that a supported sentence scores above an unsupported one, ties counting half."""
    negatives = np.sort(scores[~truth])
    below = np.searchsorted(negatives, scores[truth], "left")
    not_above = np.searchsorted(negatives, scores[truth], "right")
    return float((below + not_above).mean() / 2 / len(negatives))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
