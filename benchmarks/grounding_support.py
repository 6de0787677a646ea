"""How often people agree with the grounding, and how near misses fare; fits the shipped model.

People: LFQA-Verification (Chen et al. 2023), out-of-fold over questions. Near misses: sentences of
Wikipedia and of Natural Questions' answers (benchmarks/support_pairs.py), split by article. Beside
each figure stand cosine alone and word overlap alone, calibrated in the same way.

Run: python -m benchmarks.grounding_support human_support_dev.jsonl
     mini_kilt_knowledgesource.jsonl.xz nq-long/dev.jsonl [--write]
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.fitting import fit
from benchmarks.support_data import (
    WITH_PASSAGES,
    Flags,
    Measured,
    Scores,
    calibration_error,
    human_cases,
    measure,
    out_of_fold,
    roc_auc,
)
from benchmarks.support_pairs import KINDS, articles, natural_questions_cases, wikipedia_cases
from rag_rt.grounding import PARTLY, THRESHOLD
from rag_rt.grounding.model import SUPPORT_MODEL, LogisticModel
from rag_rt.terminal import bar
from retriever.encoders import Encoder

ARTICLES = 260  # of Wikipedia, one sentence with its near misses each
CASES_OF_ANSWERS = 500  # of Natural Questions, near misses counted
PAIRS_WEIGHT = 0.25  # of all constructed examples, to that of all human ones: see docs/grounding.md
SEED = 1

NOTE = (
    "Logistic model of support, fitted by benchmarks/grounding_support.py on 2,022 sentences "
    "judged by people (LFQA-Verification) and on sentences of Wikipedia with near misses."
)


@dataclass(frozen=True, slots=True)
class Score:
    """One way to score sentences: what it looks at, (N, F) of the measured ones."""

    name: str
    columns: Callable[[Measured], Scores]


SCORES = (
    Score("ours", lambda measured: measured.features),
    Score("cosine", lambda measured: measured.cosine[:, None]),
    Score("word overlap", lambda measured: measured.overlap[:, None]),
)


def main(human_path: Path, wikipedia: Path, answers: Path, *, write: bool) -> None:
    encoder = Encoder("starter")
    with bar("Measuring what people judged") as progress:
        human = measure(list(human_cases(human_path)), encoder, progress)
    sources = articles(wikipedia)
    cases = [
        *wikipedia_cases(sources, encoder, count=ARTICLES, seed=SEED),
        *list(natural_questions_cases(answers, sources, SEED))[:CASES_OF_ANSWERS],
    ]
    with bar("Measuring constructed pairs") as progress:
        pairs = measure(cases, encoder, progress)
    report(human, pairs)
    if write:
        whole = np.ones(len(pairs.supported), dtype=bool)
        everyone = np.ones(len(human.supported), dtype=bool)
        fitted(SCORES[0], human, everyone, pairs, whole).save(SUPPORT_MODEL, NOTE)


def report(human: Measured, pairs: Measured) -> None:
    """Print everything."""
    test = held_out_articles(pairs)
    print_human(human, pairs)
    print_pairs(human, pairs, test)


def fitted(
    score: Score, human: Measured, people: Flags, pairs: Measured, kept: Flags
) -> LogisticModel:
    """The model of some people's judgements and some constructed pairs.

    Of the pairs, the sentences that are supported weigh as much as all near misses.
    """
    positive = pairs.supported[kept]
    share = PAIRS_WEIGHT * people.sum() / 2
    weights = np.where(positive, share / positive.sum(), share / (~positive).sum())
    return fit(
        np.concatenate([score.columns(human)[people], score.columns(pairs)[kept]]),
        np.concatenate([human.supported[people], positive]),
        np.concatenate([np.ones(people.sum()), weights]),
    )


def by_people(score: Score, human: Measured, pairs: Measured, seed: int = 0) -> Scores:
    """Out-of-fold probabilities (N,) of what people judged, all pairs used in every fold.

    The baselines, which have a single column, are calibrated on people alone.
    """
    every = np.ones(len(pairs.supported), dtype=bool)

    def predict(train: Flags) -> Scores:
        if score is SCORES[0]:
            model = fitted(score, human, train, pairs, every)
        else:
            model = fit(score.columns(human)[train], human.supported[train], np.ones(train.sum()))
        return model.probabilities(score.columns(human))

    return out_of_fold(human.groups, predict, seed=seed)


def print_human(human: Measured, pairs: Measured) -> None:
    truth, given = human.supported, np.isin(human.kinds, list(WITH_PASSAGES))
    print(
        f"{len(truth):,} sentences of answers to {len(np.unique(human.groups))} questions, "
        f"{truth.mean():.0%} supported by the majority of three judges; {given.sum():,} in answers "
        "that were written from passages. Out-of-fold, no question on both sides.\n"
    )
    print("| score | ROC-AUC | written from passages | calibration error | from passages |")
    print("|---|---|---|---|---|")
    for score in SCORES:
        p = by_people(score, human, pairs)
        print(
            f"| {score.name} | {roc_auc(p, truth):.3f} | {roc_auc(p[given], truth[given]):.3f} | "
            f"{calibration_error(p, truth):.3f} | {calibration_error(p[given], truth[given]):.3f} |"
        )
    chances = by_people(SCORES[0], human, pairs)
    labels = labelled(chances, human.wrong)
    print("\n| label | sentences | supported by the majority |\n|---|---|---|")
    for number, name in enumerate(("unsupported", "partly", "supported")):
        of_it = labels == number
        print(f"| {name} | {of_it.sum():,} | {truth[of_it].mean():.0%} |")
    print(f"\nOf the supported ones {(labels[truth] == 2).mean():.0%} are called so.\n")


def print_pairs(human: Measured, pairs: Measured, test: Flags) -> None:
    people = np.ones(len(human.supported), dtype=bool)
    truth = pairs.supported[test]
    print(
        f"Constructed: {len(truth):,} sentences of {len(np.unique(pairs.groups[test]))} articles, "
        f"{truth.mean():.0%} supported; fitted without these articles.\n"
    )
    print("| score | ROC-AUC | calibration error |\n|---|---|---|")
    for score in SCORES:
        p = fitted(score, human, people, pairs, ~test).probabilities(score.columns(pairs)[test])
        print(f"| {score.name} | {roc_auc(p, truth):.3f} | {calibration_error(p, truth):.3f} |")
    kinds, wrong = pairs.kinds[test], pairs.wrong[test]
    print("\n| kind | sentences | " + " | ".join(f"{s.name} says so" for s in SCORES), end=" | ")
    print("in part | unsupported | ROC-AUC " + " | ROC-AUC ".join(s.name for s in SCORES) + " |")
    print("|---" * 10 + "|")
    chances = [
        fitted(s, human, people, pairs, ~test).probabilities(s.columns(pairs)[test]) for s in SCORES
    ]
    labels = labelled(chances[0], wrong)
    for kind in KINDS:
        of_it = kinds == kind
        said = [(labels[of_it] == 2).mean(), *((p[of_it] >= THRESHOLD).mean() for p in chances[1:])]
        some = of_it | truth
        aucs = [
            "" if truth[of_it].any() else f"{roc_auc(p[some], truth[some]):.3f}" for p in chances
        ]
        print(
            f"| {kind} | {of_it.sum()} | " + " | ".join(f"{share:.0%}" for share in said) + " | "
            f"{(labels[of_it] == 1).mean():.0%} | {(labels[of_it] == 0).mean():.0%} | "
            + " | ".join(aucs)
            + " |"
        )


def labelled(chances: Scores, wrong: Flags) -> Scores:
    """2 supported, 1 partly, 0 unsupported (N,): the rule of the grounder, without claims."""
    return np.where(chances < PARTLY, 0, np.where((chances >= THRESHOLD) & ~wrong, 2, 1))


def held_out_articles(pairs: Measured) -> Flags:
    """Which examples (N,) are of the two fifths of the articles that are tested on."""
    groups = np.unique(pairs.groups)
    np.random.default_rng(SEED).shuffle(groups)
    return np.isin(pairs.groups, groups[: len(groups) * 2 // 5])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), write="--write" in sys.argv[4:])
