"""How often people agree with the grounding, and how near misses fare; fits the shipped model.

People: LFQA-Verification (Chen et al. 2023), out-of-fold over questions. Near misses: sentences of
Wikipedia and of Natural Questions' answers (benchmarks/support_pairs.py), split by article. Beside
each figure stand cosine alone and word overlap alone, calibrated on the same examples.

The shipped model is fitted in two steps: alignment on people, then, with that held, what a
mismatching number, name or negation takes away, on near misses of that kind.

Run: python -m benchmarks.grounding_support human_support_dev.jsonl
     mini_kilt_knowledgesource.jsonl.xz nq-long/dev.jsonl [--write]
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.fitting import LEAST_RIDGE, fit, fit_penalties
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
from benchmarks.support_pairs import (
    KINDS,
    POSITIVE,
    articles,
    natural_questions_cases,
    wikipedia_cases,
)
from rag_rt.grounding import PARTLY, THRESHOLD
from rag_rt.grounding.features import NAMES
from rag_rt.grounding.grounder import SUPPORT_MODEL
from rag_rt.logistic import LogisticModel
from rag_rt.terminal import bar
from retriever.encoders import Encoder

ARTICLES = 200  # of Wikipedia, one sentence with its near misses each
CASES_OF_ANSWERS = 300  # of Natural Questions, near misses counted
CHECKS = 3  # of the features, the last ones are what the checks found
CHANGED = (POSITIVE, "number swapped", "name swapped", "negation added", "negation removed")
SEED = 1

NOTE = (
    "Logistic model of support, fitted by benchmarks/grounding_support.py on 2,022 sentences "
    "judged by people (LFQA-Verification) and on sentences of Wikipedia with near misses."
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
        everyone = np.ones(len(human.supported), dtype=bool)
        every_pair = np.ones(len(pairs.supported), dtype=bool)
        fitted(human, everyone, pairs, every_pair).save(SUPPORT_MODEL, NAMES, NOTE)


def report(human: Measured, pairs: Measured) -> None:
    """Print everything."""
    chances = {
        "ours": out_of_fold(human.groups, lambda train: _shipped(human, train, pairs)),
        **{
            name: out_of_fold(human.groups, partial(_calibrated, scores, human.supported))
            for name, scores in baselines(human).items()
        },
    }
    print_human(human, chances)
    test = held_out_articles(pairs)
    everyone = np.ones(len(human.supported), dtype=bool)
    print_pairs(
        pairs,
        test,
        {
            "ours": fitted(human, everyone, pairs, ~test).probabilities(pairs.features),
            "ours, fitted on pairs alone": _calibrated(pairs.features, pairs.supported, ~test),
            **{
                name: _calibrated(scores, pairs.supported, ~test)
                for name, scores in baselines(pairs).items()
            },
        },
    )


def fitted(human: Measured, people: Flags, pairs: Measured, kept: Flags) -> LogisticModel:
    """The model of some people's judgements and some constructed pairs, in its two steps."""
    alignment = fit(human.features[people, :-CHECKS], human.supported[people])
    kept = kept & np.isin(pairs.kinds, CHANGED)
    logits = pairs.features[kept, :-CHECKS] @ alignment.coefficients + alignment.intercept
    penalties = fit_penalties(pairs.features[kept, -CHECKS:], pairs.supported[kept], logits)
    return LogisticModel(np.append(alignment.coefficients, penalties), alignment.intercept)


def baselines(measured: Measured) -> dict[str, Scores]:
    """The two of them, as (N, 1)."""
    return {"cosine": measured.cosine[:, None], "word overlap": measured.overlap[:, None]}


def _shipped(human: Measured, train: Flags, pairs: Measured) -> Scores:
    every_pair = np.ones(len(pairs.supported), dtype=bool)
    return fitted(human, train, pairs, every_pair).probabilities(human.features)


def _calibrated(scores: Scores, supported: Flags, train: Flags) -> Scores:
    return fit(scores[train], supported[train], LEAST_RIDGE).probabilities(scores)


def print_human(human: Measured, chances: dict[str, Scores]) -> None:
    truth, given = human.supported, np.isin(human.kinds, list(WITH_PASSAGES))
    print(
        f"{len(truth):,} sentences of answers to {len(np.unique(human.groups))} questions, "
        f"{truth.mean():.0%} supported by the majority of three judges; {given.sum():,} in answers "
        "that were written from passages. Out-of-fold, no question on both sides.\n"
    )
    print("| score | ROC-AUC | written from passages | calibration error | from passages |")
    print("|---|---|---|---|---|")
    for name, p in chances.items():
        print(
            f"| {name} | {roc_auc(p, truth):.3f} | {roc_auc(p[given], truth[given]):.3f} | "
            f"{calibration_error(p, truth):.3f} | {calibration_error(p[given], truth[given]):.3f} |"
        )
    labels = labelled(chances["ours"], human.wrong)
    print("\n| label | sentences | supported by the majority |\n|---|---|---|")
    for number, name in enumerate(("unsupported", "partly", "supported")):
        of_it = labels == number
        print(f"| {name} | {of_it.sum():,} | {truth[of_it].mean():.0%} |")
    print(f"\nOf the supported ones {(labels[truth] == 2).mean():.0%} are called so.\n")


def print_pairs(pairs: Measured, test: Flags, chances: dict[str, Scores]) -> None:
    truth, kinds, wrong = pairs.supported[test], pairs.kinds[test], pairs.wrong[test]
    print(
        f"Constructed: {len(truth):,} sentences of {len(np.unique(pairs.groups[test]))} articles, "
        f"{truth.mean():.0%} supported; fitted without these articles.\n"
    )
    print("| score | ROC-AUC | calibration error |\n|---|---|---|")
    for name, p in chances.items():
        auc, error = roc_auc(p[test], truth), calibration_error(p[test], truth)
        print(f"| {name} | {auc:.3f} | {error:.3f} |")
    print("\n| kind | sentences | supported | partly | unsupported |", end=" ")
    print(" | ".join(f"{name}: supported" for name in chances if name != "ours"), end=" | ")
    print(" | ".join(f"{name}: AUC" for name in chances), end=" |\n")
    print("|---" * (4 + 2 * len(chances)) + "|")
    labels = labelled(chances["ours"][test], wrong)
    for kind in KINDS:
        of_it = kinds == kind
        cells = [f"{(labels[of_it] == label).mean():.0%}" for label in (2, 1, 0)]
        others = [p[test] for name, p in chances.items() if name != "ours"]
        cells += [f"{(p[of_it] >= THRESHOLD).mean():.0%}" for p in others]
        some = of_it | truth
        cells += [
            "" if kind == POSITIVE else f"{roc_auc(p[test][some], truth[some]):.3f}"
            for p in chances.values()
        ]
        print(f"| {kind} | {of_it.sum()} | " + " | ".join(cells) + " |")


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
