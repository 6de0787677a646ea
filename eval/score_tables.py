"""What `score` and `compare` print for people: tables, remarks, progress."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from eval import printing
from eval.printing import Report

T = TypeVar("T")

_ROUGE_SCORE_NAMES = {
    "rougeL_nostem": "ROUGE-L",
    "rougeLsum_nostem": "ROUGE-Lsum",
    "rougeL_stem": "ROUGE-L, stemmed",
    "rougeLsum_stem": "ROUGE-Lsum, stemmed",
}


def progress(records: Iterable[T], total: int) -> Iterator[T]:
    """Pass the records on, with a progress bar where standard error is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("elapsed, left"),
        TimeRemainingColumn(),
    )
    hidden = not console.is_terminal
    with Progress(*columns, console=console, disable=hidden, transient=True) as bar:
        yield from bar.track(records, total=total, description="Scoring")


def print_scores(report: Report) -> None:
    """Print the report of `score`: official figures, then, apart from them, the others."""
    console = printing.console()
    intervals = report["intervals"]
    title = printing.marked("KILT figures of the official scorer", report)
    _print_figures(console, title, _flat(report["official"]), intervals["figures"])
    title = "Figures of the official eval_retrieval beside them"
    _print_figures(console, title, report["eval_retrieval"], intervals["figures"])
    if google := report["not_official"]["rouge_score"]:
        title = "Not official: the rouge-score package, not comparable with rougel"
        _print_figures(console, title, google, intervals["figures"])
    counts = report["counts"]
    printing.say(
        console,
        f"Gold records: {counts['records']}; with an empty guess: {counts['empty_guesses']}; with "
        f"R-precision 1, and so in the KILT figures: {counts['kilt_counted']}. "
        f"Intervals: {intervals['level']:.0%}, {intervals['method']}, "
        f"{intervals['resamples']} resamples, seed {intervals['seed']}.",
    )
    _print_remarks(console, report)


def print_retrieval(report: Report) -> None:
    """Print the report of `score --retrieval-only`."""
    console = printing.console()
    title = printing.marked("Figures of the official eval_retrieval", report)
    _print_figures(console, title, report["official"]["retrieval"], {})
    _print_remarks(console, report)


def print_comparison(report: Report) -> None:
    """Print the report of `compare`."""
    console = printing.console()
    title = printing.marked("KILT figures of the official scorer, in percent", report)
    printing.say(console, title, "bold")
    table = printing.table(("a", "b", "b - a", "interval", "p", "b wins"))
    figures = {side: _flat(official) for side, official in report["official"].items()}
    for name, row in report["differences"].items():
        table.add_row(
            name,
            printing.percent(figures["a"][name]),
            printing.percent(figures["b"][name]),
            f"{100 * row['difference']:+.2f}",
            printing.interval(row["interval"]),
            f"{row['p_value']:.4f}",
            f"{row['better']}:{row['worse']}",
        )
    console.print(table)
    method = report["method"]
    printing.say(
        console,
        f"Questions: {report['counts']['records']}. Interval of b - a: {method['level']:.0%}, "
        f"{method['interval']}. p: {method['p_value']}, {method['permutations']} draws. "
        f"Seed {method['seed']}. b wins: questions on which b is better : worse.",
    )
    _print_remarks(console, report)


def _print_figures(
    console: Console, title: str, figures: Mapping[str, float], intervals: Mapping[str, Any]
) -> None:
    heads = ("percent", "interval", "in full") if intervals else ("percent", "in full")
    printing.say(console, title, "bold")
    table = printing.table(heads)
    for name, value in figures.items():
        cells = [printing.percent(value), repr(value)]
        if intervals:
            cells.insert(1, printing.interval(intervals[name]))
        table.add_row(_ROUGE_SCORE_NAMES.get(name, name), *cells)
    console.print(table)


def _print_remarks(console: Console, report: Report) -> None:
    printing.print_sources(console, report)
    for warning in report["warnings"]:
        printing.say(console, f"Warning: {warning}")


def _flat(official: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {name: value for section in official.values() for name, value in section.items()}
