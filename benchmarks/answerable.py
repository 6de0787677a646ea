"""Who is told that the passages do not answer; fits the shipped model of it.

Derived Natural Questions (not official KILT): the first 200 records are tested on, the others
fitted on. ELI5 questions over the starter corpus have no gold: their share is printed, and some of
them to be judged by eye. Beside ours stand the cosine of the best passage and the share of the
question's words that the passages hold, both calibrated on the same cases and cut where they keep
as many answerable questions of the fitted side as ours, and whether the corpus covers the question
(rag_rt/coverage.py), which is asked before.

Run: python -m benchmarks.answerable INDEX nq-long/dev.jsonl eli5/dev.jsonl [--write]
where INDEX was made by 'rag-rt index build --source kilt' of a corpus with all gold pages.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.answerable_cases import (
    KINDS,
    REMOVED,
    Case,
    RememberingEncoder,
    natural_cases,
    pools,
    records,
    simple_cases,
)
from benchmarks.fitting import LEAST_RIDGE, fit
from benchmarks.support_data import Flags, Scores, calibration_error, out_of_fold, roc_auc
from rag_rt.answerable import ANSWERABLE, ANSWERABLE_MODEL, NAMES, measure
from rag_rt.coverage import covers
from rag_rt.evidence import EvidencePool
from rag_rt.logistic import LogisticModel
from rag_rt.requests import Request
from rag_rt.settings import load_settings
from rag_rt.terminal import bar
from rag_rt.words import content_words
from retriever.index import Index
from retriever.searching import Retriever

STRENGTH = 3.0  # of the ridge
ELI5 = 200  # questions
SHOWN = 20  # of them
NOTE = (
    "Logistic model of whether passages answer, fitted by benchmarks/answerable.py on derived "
    "Natural Questions (records 201 to 394) and on titles of the starter corpus."
)


@dataclass(frozen=True, slots=True)
class Measured:
    """N cases: features (N, F), two baselines (N, 1), who is covered, and what they are."""

    features: Scores
    cosine: Scores
    overlap: Scores
    answerable: Flags
    covered: Flags
    tested: Flags
    kinds: npt.NDArray[np.str_]
    questions: npt.NDArray[np.str_]


def main(index: Path, natural: Path, eli5: Path, *, write: bool) -> None:
    encoder = RememberingEncoder()
    starter = Retriever(Index(load_settings().index_directory), encoder)
    cases = list(simple_cases(starter))
    cases += natural_cases(records(natural), Retriever(Index(index), encoder))
    everyday = [
        Case("eli5", question, tuple(starter.search(question, Request.k)), tested=True)
        for question in _inputs(eli5)[:ELI5]
    ]
    with bar("Gathering evidence") as progress:
        gathered = pools([*cases, *everyday], encoder, progress)
    measured = measured_cases(cases, gathered[: len(cases)])
    report(measured, measured_cases(everyday, gathered[len(cases) :]))
    if write:
        save(measured)


def _inputs(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["input"] for line in lines]


def measured_cases(cases: Sequence[Case], gathered: Sequence[EvidencePool]) -> Measured:
    """What the model and the baselines are computed from."""
    features = np.stack([measure(pool) for pool in gathered])
    floor = load_settings().min_relevance
    return Measured(
        features,
        np.array([[max(hit.similarity for hit in case.hits)] for case in cases]),
        np.array([[_held(pool)] for pool in gathered]),
        np.array([case.answerable for case in cases]),
        np.array([covers(case.question, case.hits, floor) for case in cases]),
        np.array([case.tested for case in cases]),
        np.array([case.kind for case in cases]),
        np.array([case.question for case in cases]),
    )


def _held(pool: EvidencePool) -> float:
    words = content_words(pool.question)
    there = content_words(" ".join(f"{h.passage.title} {h.passage.text}" for h in pool.hits))
    return len(words & there) / max(1, len(words))


def report(measured: Measured, everyday: Measured) -> None:
    """Print everything."""
    fitted, tested, truth = ~measured.tested, measured.tested, measured.answerable
    scores = {
        "ours": measured.features,
        "cosine of the best passage": measured.cosine,
        "share of words held": measured.overlap,
    }
    chances = {name: _calibrated(score, truth, fitted) for name, score in scores.items()}
    near = tested & (truth | (measured.kinds == REMOVED))
    print(
        f"Derived data, not official KILT. {tested.sum()} cases tested, {fitted.sum()} fitted on.\n"
    )
    print("| score | ROC-AUC | against the gold page taken away | calibration error |")
    print("|---|---|---|---|")
    for name, p in chances.items():
        aucs = (roc_auc(p[side], truth[side]) for side in (tested, near))
        error = calibration_error(p[tested], truth[tested])
        print(f"| {name} | {' | '.join(f'{auc:.3f}' for auc in aucs)} | {error:.3f} |")

    kept = {name: _kept(score, measured) for name, score in scores.items()}
    share = (kept["ours"] >= ANSWERABLE).mean()
    print(f"\n{ANSWERABLE} keeps {share:.1%} of the fitted side's answerable, out of fold.\n")
    away = {
        "ours": chances["ours"] < ANSWERABLE,
        **{n: chances[n] < np.quantile(kept[n], 1 - share) for n in list(scores)[1:]},
        "rag_rt.coverage": ~measured.covered,
    }
    _print_kinds(measured, away)
    _print_everyday(everyday, fit(scores["ours"][fitted], truth[fitted], STRENGTH))


def _calibrated(scores: Scores, truth: Flags, train: Flags) -> Scores:
    strength = STRENGTH if scores.shape[1] > 1 else LEAST_RIDGE
    return fit(scores[train], truth[train], strength).probabilities(scores)


def _kept(scores: Scores, measured: Measured) -> Scores:
    """Out of fold, the probabilities of the fitted side's answerable questions."""
    side = ~measured.tested
    truth = measured.answerable[side]
    predict = partial(_calibrated, scores[side], truth)
    return out_of_fold(measured.questions[side], predict)[truth]


def _print_kinds(measured: Measured, away: dict[str, Flags]) -> None:
    print("Turned away, of the tested side, with 95 % intervals (Wilson 1927):\n")
    print("| questions | number | cosine, median | " + " | ".join(away) + " |")
    print("|---" * (3 + len(away)) + "|")
    for kind in KINDS:
        of_it = measured.tested & (measured.kinds == kind)
        cells = [_share(int(flags[of_it].sum()), int(of_it.sum())) for flags in away.values()]
        cosine = np.median(measured.cosine[of_it])
        print(f"| {kind} | {of_it.sum()} | {cosine:.2f} | {' | '.join(cells)} |")


def _share(count: int, total: int) -> str:
    z, share = 1.96, count / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(share * (1 - share) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return f"{share:.0%} ({low:.0%} to {high:.0%})"


def _print_everyday(everyday: Measured, model: LogisticModel) -> None:
    chances = model.probabilities(everyday.features)
    away = _share(int((chances < ANSWERABLE).sum()), len(chances))
    print(f"\nELI5 over the starter corpus, {len(chances)} questions: {away} turned away.")
    print(f"Every {len(chances) // SHOWN}th by probability:\n")
    for row in np.argsort(chances)[:: len(chances) // SHOWN]:
        print(f"    {chances[row]:.3f}  {everyday.questions[row]}")


def save(measured: Measured) -> None:
    """Write the model of the fitted side."""
    side = ~measured.tested
    fit(measured.features[side], measured.answerable[side], STRENGTH).save(
        ANSWERABLE_MODEL, NAMES, NOTE
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), write="--write" in sys.argv[4:])
