"""Questions of a file that training has asked already, and what they do to the scores.

"Hurdles to Progress in Long-form QA" (Krishna et al. 2021, section 3.2) found a paraphrase in
training for most ELI5 dev questions. Here a question overlaps if its nearest training question, by
the cosine of the retriever's encoder, reaches a threshold. What the threshold rests on is
`THRESHOLD`'s comment, and the pairs that every report shows for its reader to judge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np
import numpy.typing as npt

from eval.answer_metrics import exact_match_and_f1, normalised
from eval.errors import NotDiagnosable
from eval.golds import Question, derived_remark, longest, read_questions
from eval.records import AlignedFiles
from eval.rouge_l import RougeText, max_rouge_l
from eval.scoring import OFFICIAL_METRICS, Scorer
from eval.significance import LEVEL, RESAMPLES, Values, bootstrap_gaps, bootstrap_intervals
from retriever.encoders import DualEncoder, Progress, Vectors

# 127 pairs of ELI5 questions judged by one reader: at 0.70 and above 40 of 45 are paraphrases, just
# below it 3 of 14 (`benchmarks/paraphrase_threshold.py` prints every band). Holds for this encoder.
THRESHOLD = 0.7
THRESHOLD_ENCODER = "all-MiniLM-L6-v2"
NEAREST = 7  # training questions for each question, as many as the paper looks at
BAND_EDGES = (-1.0, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1.001)
_SHOWN_PAIRS = 3  # of each band
_RANDOM_PAIRS = 100_000  # the 99.9 % quantile is then read off a hundred pairs
_ENCODED_AT_ONCE = 1024

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest training questions of each question, best first.

    `cosines` and `rows` are (questions, K); `random_cosines` are those of pairs drawn at random.
    """

    cosines: Vectors
    rows: Rows
    random_cosines: Vectors

    @classmethod
    def find(
        cls,
        questions: Sequence[Question],
        training: Sequence[Question],
        encoder: DualEncoder,
        seed: int,
        progress: Progress,
    ) -> Self:
        """Encode all questions as the retriever encodes questions, and search exactly."""
        vectors = _unit_vectors([*training, *questions], encoder, progress)
        known, asked = vectors[: len(training)], vectors[len(training) :]
        index = faiss.IndexFlatIP(known.shape[1])
        index.add(known)
        cosines, rows = index.search(asked, min(NEAREST, len(training)))
        rng = np.random.default_rng(seed)
        drawn = (rng.integers(len(side), size=_RANDOM_PAIRS) for side in (asked, known))
        pairs = zip((asked, known), drawn, strict=True)
        left, right = (side[chosen] for side, chosen in pairs)
        return cls(cosines, rows, np.einsum("nd,nd->n", left, right))


def overlap_report(
    gold: Path,
    train: Path,
    guess: Path | None,
    encoder: DualEncoder,
    *,
    threshold: float,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Everything that `overlap` prints.

    Args:
        gold: the evaluation file.
        train: the training file.
        guess: a guess file to score with and without the overlapping questions, or None.
        encoder: the retriever's.
        threshold: the cosine from which a question overlaps.
        seed: of the resampling and of the pairs shown.
        progress: told how many training questions are read, then how many of all are encoded.

    Raises:
        EvalError: a file is refused.
        NotDiagnosable: a file holds no questions with answers.
    """
    questions = read_questions(gold)
    training = [question for question in read_questions(train, progress) if question.answers]
    for path, found in ((gold, questions), (train, training)):
        if not any(question.answers for question in found):
            raise NotDiagnosable(f"{path} holds no questions with answers; name a file that does")
    near = Neighbours.find(questions, training, encoder, seed, progress)
    overlapping = near.cosines[:, 0] >= threshold
    share: Values = overlapping[:, None].astype(np.float64)
    return {
        "threshold": {"cosine": threshold, "encoder": encoder.name},
        "overlapping": {
            "questions": int(overlapping.sum()),
            "of": len(questions),
            "share": float(share.mean()),
            "interval": bootstrap_intervals(share, seed)[0],
            "exact_duplicates": _duplicates(questions, training),
        },
        "bands": _bands(near, questions, training, seed),
        "random_pairs": _quantiles(near.random_cosines),
        "nearest_considered": near.rows.shape[1],
        "copied_answers": _copied(near, questions, training, overlapping, seed),
        "scores": _scores(guess, gold, overlapping, seed) if guess else None,
        "nearest": [
            {"id": question.id, "training_id": training[row].id, "cosine": float(cosine)}
            for question, row, cosine in zip(
                questions, near.rows[:, 0], near.cosines[:, 0], strict=True
            )
        ],
        "intervals": {"level": LEVEL, "resamples": RESAMPLES, "seed": seed},
        "warnings": _warnings(encoder, threshold),
        **derived_remark([*questions, *training]),
        "files": {"gold": str(gold), "train": str(train), "guess": str(guess) if guess else None},
    }


def _unit_vectors(
    questions: Sequence[Question], encoder: DualEncoder, progress: Progress
) -> Vectors:
    """Unit vectors (N, D), whatever length the encoder gives them."""
    vectors = np.empty((len(questions), encoder.dimension), dtype=np.float32)
    for first in range(0, len(questions), _ENCODED_AT_ONCE):
        batch = [question.text for question in questions[first : first + _ENCODED_AT_ONCE]]
        vectors[first : first + len(batch)] = encoder.encode_questions(batch)
        progress(first + len(batch), len(questions))
    faiss.normalize_L2(vectors)
    return vectors


def _duplicates(questions: Sequence[Question], training: Sequence[Question]) -> int:
    """Questions that training asks in the same words, by KILT's normalisation of answers."""
    known = {normalised(question.text) for question in training}
    return sum(normalised(question.text) in known for question in questions)


def _bands(
    near: Neighbours, questions: Sequence[Question], training: Sequence[Question], seed: int
) -> list[dict[str, Any]]:
    """How many nearest training questions lie in each band of cosines, with pairs to judge."""
    nearest = near.cosines[:, 0]
    rng = np.random.default_rng(seed)
    bands = []
    for low, high in reversed(list(pairwise(BAND_EDGES))):
        members = np.flatnonzero((nearest >= low) & (nearest < high))
        shown = rng.permutation(members)[:_SHOWN_PAIRS]
        pairs = [
            {
                "cosine": float(nearest[n]),
                "question": questions[n].text,
                "training_question": training[near.rows[n, 0]].text,
            }
            for n in shown
        ]
        bands.append({"low": low, "high": high, "questions": len(members), "pairs": pairs})
    return bands


def _quantiles(cosines: Vectors) -> dict[str, float]:
    levels = (0.5, 0.99, 0.999)
    return {str(level): float(np.quantile(cosines, level)) for level in levels}


def _copied(
    near: Neighbours,
    questions: Sequence[Question],
    training: Sequence[Question],
    overlapping: npt.NDArray[np.bool_],
    seed: int,
) -> dict[str, Any]:
    """What answers of the nearest training questions score; questions without golds left out."""
    asked = [n for n, question in enumerate(questions) if question.answers]
    rows = []
    for n in asked:
        golds = questions[n].answers
        answers = [training[row].answers for row in near.rows[n]]
        flat = [answer for some in answers for answer in some]
        best = max(flat, key=lambda answer: _rougel(answer, golds))
        copies = (longest(answers[0]), longest(flat), best)
        rows.append([(_rougel(copy, golds), exact_match_and_f1(copy, golds)[1]) for copy in copies])
    table: Values = np.array(rows, dtype=np.float64)  # (questions, copies, figures)
    names = ("nearest", "longest_of_nearest", "best_of_nearest")
    mask = overlapping[asked]
    return {
        name: _with_and_without(table[:, column], ("rougel", "f1"), mask, seed)
        for column, name in enumerate(names)
    }


def _rougel(answer: str, golds: Sequence[str]) -> float:
    return max_rouge_l(RougeText(answer), map(RougeText, golds))


def _scores(
    guess: Path, gold: Path, overlapping: npt.NDArray[np.bool_], seed: int
) -> dict[str, Any]:
    with AlignedFiles(guess, gold) as files:
        rows = [record.score.official() for record in Scorer(files)]
    table: Values = np.array(rows, dtype=np.float64)
    return _with_and_without(table, OFFICIAL_METRICS, overlapping, seed)


def _with_and_without(
    table: Values, names: Sequence[str], overlapping: npt.NDArray[np.bool_], seed: int
) -> dict[str, Any]:
    """Figures (questions, figures) over all questions, the overlapping ones, and the others.

    `gap` is the overlapping ones minus the others, with its interval.
    """
    parts = {"all": table, "overlapping": table[overlapping], "others": table[~overlapping]}
    gaps = bootstrap_gaps(parts["others"], parts["overlapping"], seed)
    means = {name: _means(part, names) for name, part in parts.items()}
    return {
        **{
            name: {
                "questions": len(part),
                "figures": means[name],
                "intervals": dict(zip(names, bootstrap_intervals(part, seed), strict=True)),
            }
            for name, part in parts.items()
        },
        "gap": {
            name: {"difference": _gap(means, name), "interval": interval}
            for name, interval in zip(names, gaps, strict=True)
        },
    }


def _means(part: Values, names: Sequence[str]) -> Mapping[str, float | None]:
    means: list[float | None] = part.mean(axis=0).tolist() if len(part) else [None] * len(names)
    return dict(zip(names, means, strict=True))


def _gap(means: Mapping[str, Mapping[str, float | None]], name: str) -> float | None:
    with_overlap, without = means["overlapping"][name], means["others"][name]
    return None if with_overlap is None or without is None else with_overlap - without


def _warnings(encoder: DualEncoder, threshold: float) -> list[str]:
    if encoder.name == THRESHOLD_ENCODER or threshold != THRESHOLD:
        return []
    return [
        f"the threshold {THRESHOLD} was read off pairs judged with {THRESHOLD_ENCODER}, and these "
        f"cosines are of {encoder.name}: judge the pairs below and name your own with --threshold"
    ]
