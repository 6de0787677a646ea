"""What `score` and `compare` report, as JSON objects.

The key `official` holds the dictionary of the official scorer and nothing else; whatever is beside
it is no part of that dictionary, and `not_official` is not even computed as KILT computes it.
"""

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from eval.errors import OutputNotWritten
from eval.records import AlignedFiles
from eval.remarks import Remarks
from eval.retrieval_scoring import RetrievalScorer
from eval.score_tables import progress
from eval.scoring import OFFICIAL_METRICS, RecordScore, ScoredRecord, Scorer
from eval.significance import (
    LEVEL,
    PERMUTATIONS,
    RESAMPLES,
    Values,
    bootstrap_intervals,
    compare_paired,
)

DERIVED_NOTE = "derived data, not official KILT"
# A report names the commonest sources of its gold records, however many there are.
SOURCES_NAMED = 10
# Figures that `eval_retrieval` prints and `eval_downstream` leaves out.
_PAGE_FIGURES = ("precision@1", "precision@5", "success_rate@5")


def score_report(
    guess: Path, gold: Path, per_record: Path | None, *, strict: bool, google: bool, seed: int
) -> dict[str, Any]:
    """Everything that `score` prints; `per_record` takes one JSON line a record.

    Raises:
        EvalError: a file is refused, or `per_record` cannot be written.
    """
    rouge_figures = _rouge_score_names() if google else ()
    names = (*OFFICIAL_METRICS, *_PAGE_FIGURES, *rouge_figures)
    values = array("d")
    with ExitStack() as stack:
        files = stack.enter_context(AlignedFiles(guess, gold))
        lines = stack.enter_context(written_whole(per_record)) if per_record else None
        scorer = Scorer(files, strict=strict)
        for record in progress(scorer, len(files)):
            values.extend(record.score.official())
            values.extend(_page_figures(record.score))
            if google:
                values.extend(_rouge_score_figures(record))
            if lines:
                lines.write(json.dumps(record.score.as_json()).encode() + b"\n")
        counts = {**scorer.counts, "guesses": len(files.guesses)}
    table = _table(values, names)
    means = dict(zip(names, _means(table), strict=True))
    return {
        "official": scorer.official(),
        "eval_retrieval": {name: means[name] for name in _PAGE_FIGURES},
        "not_official": {"rouge_score": {name: means[name] for name in rouge_figures} or None},
        "intervals": {
            "method": "percentile bootstrap over questions",
            "level": LEVEL,
            "resamples": RESAMPLES,
            "seed": seed,
            "figures": dict(zip(names, bootstrap_intervals(table, seed), strict=True)),
        },
        "counts": counts,
        **_remarks([scorer.remarks]),
        "files": {"guess": str(guess), "gold": str(gold)},
    }


def retrieval_report(guess: Path, gold: Path, *, strict: bool) -> dict[str, Any]:
    """Everything that `score --retrieval-only` prints.

    Raises:
        EvalError: a file is refused.
    """
    with AlignedFiles(guess, gold) as files:
        scorer = RetrievalScorer(files, strict=strict)
        records = sum(1 for _ in progress(scorer, len(files)))
        counts = {"records": records, "guesses": len(files.guesses)}
    return {
        "official": {"retrieval": scorer.official()},
        "counts": counts,
        **_remarks([scorer.remarks]),
        "files": {"guess": str(guess), "gold": str(gold)},
    }


def comparison_report(a: Path, b: Path, gold: Path, *, seed: int) -> dict[str, Any]:
    """Everything that `compare` prints.

    Raises:
        EvalError: a file is refused.
    """
    columns = array("d"), array("d")
    with AlignedFiles(a, gold) as a_files, AlignedFiles(b, gold) as b_files:
        scorers = Scorer(a_files), Scorer(b_files)
        for pair in progress(zip(*scorers, strict=True), len(a_files)):
            for column, record in zip(columns, pair, strict=True):
                column.extend(record.score.official())
    a_table, b_table = (_table(column, OFFICIAL_METRICS) for column in columns)
    results = compare_paired(a_table, b_table, seed)
    return {
        "official": {"a": scorers[0].official(), "b": scorers[1].official()},
        "differences": {
            name: asdict(result) for name, result in zip(OFFICIAL_METRICS, results, strict=True)
        },
        "method": {
            "difference": "b - a",
            "interval": "percentile bootstrap over questions, paired",
            "level": LEVEL,
            "resamples": RESAMPLES,
            "p_value": "two-sided paired sign-flip permutation test, not adjusted for ten metrics",
            "permutations": PERMUTATIONS,
            "seed": seed,
        },
        "counts": {"records": len(a_table)},
        **_remarks([scorer.remarks for scorer in scorers]),
        "files": {"a": str(a), "b": str(b), "gold": str(gold)},
    }


def _page_figures(score: RecordScore) -> tuple[float, ...]:
    """The values of `_PAGE_FIGURES`, in their order."""
    return score.precision_at_1, score.precision_at_5, score.success_rate_at_5


def _rouge_score_names() -> tuple[str, ...]:
    # Imported where it is used: NLTK, which rouge-score brings, takes a second to load.
    from eval.google_rouge import GOOGLE_ROUGE

    return GOOGLE_ROUGE


def _rouge_score_figures(record: ScoredRecord) -> Iterable[float]:
    """The four figures; an empty guess counts 0, as it does in the official ones."""
    from eval.google_rouge import GOOGLE_ROUGE, google_rouge

    if not record.guess.answer:
        return [0.0] * len(GOOGLE_ROUGE)
    figures = google_rouge(record.guess.answer, record.gold.answers)
    return [figures[name] for name in GOOGLE_ROUGE]


def _table(values: "array[float]", names: Sequence[str]) -> Values:
    """The figures as (questions, metrics)."""
    return np.frombuffer(values, dtype=np.float64).reshape(-1, len(names))


def _means(table: Values) -> list[float]:
    """The mean of each column, summed from left to right as the official ones are."""
    count = max(1, len(table))
    return [sum(table[:, column].tolist()) / count for column in range(table.shape[1])]


def _remarks(remarks: Sequence[Remarks]) -> dict[str, Any]:
    """What a reader of the figures must know beside them; all were scored on one gold file."""
    sources = remarks[0].derived_sources
    deadly = list(dict.fromkeys(str(name) for remark in remarks for name in remark.deadly_ids))
    findings = [str(finding) for remark in remarks for finding in remark.findings]
    warnings = list(dict.fromkeys(findings))
    if deadly:
        warnings.append(
            f"the official scorer would crash with RecursionError, first on record {deadly[0]!r} "
            f"(records: {len(deadly)}); these figures are what it would give without that limit"
        )
    return {
        "note": DERIVED_NOTE if sources else None,
        "derived_sources": dict(sources.most_common(SOURCES_NAMED)),
        "official_would_crash": deadly,
        "warnings": warnings,
    }


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name once all of it is written."""
    from retriever.artefacts import atomic_write

    if path.exists() and not path.is_file():
        raise OutputNotWritten(f"{path} is no regular file; name a file to write the records to")
    try:
        with atomic_write(path) as file:
            yield file
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{path} cannot be written: {reason}; check its directory and the free space"
        raise OutputNotWritten(message) from error
