"""A report's figures as Markdown tables, for an issue, a README or a paper's notes."""

from collections.abc import Iterable, Sequence

from eval import report_rows
from eval.ablation import verdict
from eval.report_data import ReportData, RunReport


def markdown(data: ReportData) -> str:
    """Scores beside the published ones, bounds, and what random passages change."""
    note = f" ({data.note})" if data.note else ""
    parts = [
        f"# {_plain(', '.join(run.name for run in data.runs))} on {_plain(data.gold.name)}{note}",
        "\n".join(f"- {_plain(f'{name}: {said}')}" for name, said in report_rows.findings(data)),
        _scores(data, note),
        _bounds(data, note),
        *(_changes(run, note) for run in data.runs if run.ablation),
    ]
    return "\n\n".join(parts) + "\n"


def _scores(data: ReportData, note: str) -> str:
    published = report_rows.published_rows()
    sources = list(dict.fromkeys(row.source for row in published))
    heads = ("System", "Questions", *report_rows.COLUMNS, "Source")
    ours = [
        (f"**{_plain(row.name)}**", row.split, *_with_intervals(row), f"this report{note}")
        for row in report_rows.run_rows(data)
    ]
    theirs = [
        (row.name, row.split, *row.figures, f"[{sources.index(row.source) + 1}]")
        for row in published
    ]
    cited = "\n".join(f"{number}. {source}" for number, source in enumerate(sources, start=1))
    level = data.bounds["intervals"]["level"]
    return (
        f"## Scores{note}\n\nIn percent, with {level:.0%} intervals over questions. Published rows "
        f"are on KILT's own files.\n\n{_table(heads, [*ours, *theirs])}\n\n{cited}"
    )


def _with_intervals(row: report_rows.ScoreRow) -> Iterable[str]:
    return (
        f"{figure} ({interval})"
        for figure, interval in zip(row.figures, row.intervals, strict=True)
    )


def _bounds(data: ReportData, note: str) -> str:
    counts = data.bounds["counts"]
    heads = (
        "Bound",
        f"All {counts['records_with_answers']} records",
        f"{counts['protocol']} with two answers or more",
        "Published, KILT dev",
    )
    rows = [
        (
            f"{row.name}: {row.what}",
            _figure(row.all_records, row.all_interval),
            _figure(row.protocol, row.protocol_interval),
            row.published,
        )
        for row in report_rows.bound_rows(data)
    ]
    source = data.bounds["published"]
    return f"## Bounds, ROUGE-L{note}\n\n{_table(heads, rows)}\n\nPublished: {source}."


def _figure(value: str, interval: str) -> str:
    return f"{value} ({interval})" if value else ""


def _changes(run: RunReport, note: str) -> str:
    assert run.ablation is not None
    heads = ("Figure", "Retrieved", "Random", "Change", "95 % interval", "p")
    rows = [
        (row.name, row.true, row.random, row.change, row.interval, row.p_value)
        for row in report_rows.change_rows(run)
    ]
    title = f"## {_plain(run.name)} with random passages{note}"
    return f"{title}\n\n{verdict(run.ablation)}\n\n{_table(heads, rows)}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """A text of a run on one line, in which nothing is markup."""
    line = " ".join(text.split())
    return "".join(f"\\{mark}" if mark in "\\`*_[]<>|#" else mark for mark in line)
