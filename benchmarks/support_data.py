"""Sentences with their passages, measured for a model of support: people's and constructed ones."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rag_rt.evidence import EvidencePool
from rag_rt.grounding.features import NAMES
from rag_rt.grounding.grounder import Grounder
from rag_rt.words import content_words
from retriever import Hit, Passage
from retriever.encoders import Encoder, Progress

Scores = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# Systems of LFQA-Verification that were given the passages (webgpt found them itself).
WITH_PASSAGES = frozenset({"webgpt", "gpt3_wdoc", "gpt3_whudoc", "alpaca_wdoc"})


@dataclass(frozen=True, slots=True)
class Case:
    """Sentences that follow each other, and the passages to ground them in."""

    group: str
    """Cases of one group (a question, an article) are never on both sides of a split."""
    question: str
    passages: tuple[Hit, ...]
    sentences: tuple[str, ...]
    supported: tuple[bool, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """N sentences: features (N, F), the two baselines, whether the checks found a mismatch."""

    features: Scores
    cosine: Scores
    overlap: Scores
    wrong: Flags
    supported: Flags
    groups: npt.NDArray[np.str_]
    kinds: npt.NDArray[np.str_]


def human_cases(path: Path) -> Iterator[Case]:
    """The answers of LFQA-Verification (Chen et al. 2023); the kind is the system.

    Supported is what the majority of three judges called so; partial support and split votes are
    on the other side.
    """
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        yield Case(
            record["question"],
            record["question"],
            hits(record["passages"]),
            tuple(record["sentences"]),
            tuple(label == "supported" for label in record["labels"]),
            (record["system"],) * len(record["sentences"]),
        )


def hits(passages: Sequence[dict[str, str]]) -> tuple[Hit, ...]:
    """Passages from anywhere, as the pipeline takes them."""
    return tuple(
        Hit(Passage(p["id"], p["id"], p["title"], p["text"], "", 0, len(p["text"])), 0.0, rank, 0.0)
        for rank, p in enumerate(passages, start=1)
    )


def measure(cases: Sequence[Case], encoder: Encoder, progress: Progress) -> Measured:
    """Everything that is computed from the sentences of the cases."""
    rows: list[tuple[Scores, float, float, bool, bool, str, str]] = []
    for number, case in enumerate(cases, start=1):
        rows.extend(_rows(case, encoder))
        progress(number, len(cases))
    features, cosine, overlap, wrong, supported, groups, kinds = zip(*rows, strict=True)
    return Measured(
        np.stack(features),
        np.array(cosine),
        np.array(overlap),
        np.array(wrong),
        np.array(supported),
        np.array(groups),
        np.array(kinds),
    )


def _rows(
    case: Case, encoder: Encoder
) -> Iterator[tuple[Scores, float, float, bool, bool, str, str]]:
    pool = EvidencePool.gather(case.question, case.passages, encoder)
    grounder = Grounder(pool, encoder, NoModel())
    held = content_words(" ".join(hit.passage.text for hit in case.passages))
    cosines = (encoder.encode(case.sentences) @ pool.vectors.T).max(1)
    answer = ""
    for place, text in enumerate(case.sentences):
        start = len(answer)
        assessed = grounder.assess(answer + text, start, start + len(text))
        words = content_words(text)
        yield (
            assessed[0].features if assessed else np.zeros(len(NAMES)),
            float(cosines[place]),
            len(words & held) / max(1, len(words)),
            bool(assessed and assessed[0].wrong),
            case.supported[place],
            case.group,
            case.kinds[place],
        )
        answer += f"{text} "


class NoModel:
    """Stands where no probability is asked for: the model is about to be fitted."""

    name = "none"

    def probabilities(self, *_: object) -> Scores:
        """Never asked for."""
        raise AssertionError("features alone are asked for")


def roc_auc(scores: Scores, truth: Flags) -> float:
    """The chance that a supported sentence scores above an unsupported one, ties counting half."""
    negatives = np.sort(scores[~truth])
    below = np.searchsorted(negatives, scores[truth], "left")
    not_above = np.searchsorted(negatives, scores[truth], "right")
    return float((below + not_above).mean() / 2 / len(negatives))


def calibration_error(probabilities: Scores, truth: Flags, bins: int = 10) -> float:
    """Expected calibration error over bins of equal width (Guo et al. 2017, eq. 3)."""
    numbers = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [abs(probabilities[numbers == n].sum() - truth[numbers == n].sum()) for n in range(bins)]
    return float(sum(gaps) / len(truth))


def out_of_fold(
    groups: npt.NDArray[np.str_], predict: Callable[[Flags], Scores], folds: int = 10, seed: int = 0
) -> Scores:
    """Scores (N,) of each sentence by a model that saw none of its group.

    Args:
        groups: (N,) what must not be on both sides.
        predict: from what is trained on (N,) to the scores of all (N,).
        folds: into how many parts the groups are dealt.
        seed: how they are dealt.
    """
    names = np.unique(groups)
    np.random.default_rng(seed).shuffle(names)
    fold_of = {name: place % folds for place, name in enumerate(names)}
    fold = np.array([fold_of[group] for group in groups])
    scores = np.zeros(len(groups))
    for number in range(folds):
        scores[fold == number] = predict(fold != number)[fold == number]
    return scores
