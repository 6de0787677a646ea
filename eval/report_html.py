"""A report as one HTML page that needs nothing beside it: no network, no scripts.

Every text of a run goes through the template's escaping; the plots and the style sheet, which are
our own, are the only markup that is put in as it is.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eval import report_plots, report_rows
from eval.ablation import verdict
from eval.printing import percent
from eval.published import SYSTEMS
from eval.report_data import ReportData, RunReport
from eval.runs import flat

_FOLDER = Path(__file__).with_name("report_page")
_LEAD_WORDS = 80  # of a gold answer; the rest is folded away


def html_page(data: ReportData) -> str:
    """The whole page."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    published = report_rows.published_rows()
    best, worst = report_rows.extremes(data)
    return environment.get_template("report.html").render(
        data=data,
        style=_ours((_FOLDER / "report.css").read_text()),
        findings=report_rows.findings(data),
        plots=_plots(data),
        columns=list(report_rows.COLUMNS),
        runs=report_rows.run_rows(data),
        published=published,
        bounds=report_rows.bound_rows(data),
        counts=data.bounds["counts"],
        intervals=data.bounds["intervals"],
        ablated=[_ablated(run, n) for n, run in enumerate(data.runs) if run.ablation],
        best=best,
        worst=worst,
        sources=list(dict.fromkeys(row.source for row in published)),
        dev_sources=list(dict.fromkeys(row.source for row in SYSTEMS if row.split == "dev")),
        series=report_plots.series,
        percent=percent,
        split=_split,
        flat=flat,
    )


def _plots(data: ReportData) -> dict[str, Markup | None]:
    grounded = [(n, run) for n, run in enumerate(data.runs) if report_rows.supported(run)]
    return {
        "scores": _ours(report_plots.scores_plot(data)),
        "lengths": _ours(report_plots.lengths_plot(data)),
        "support": _ours(report_plots.support_plot(grounded)) if grounded else None,
    }


def _ablated(run: RunReport, number: int) -> dict[str, Any]:
    assert run.ablation is not None
    return {
        "name": run.name,
        "number": number,
        "verdict": verdict(run.ablation),
        "plot": _ours(report_plots.overlap_plot(run, number)),
        "rows": list(report_rows.change_rows(run)),
        "records": run.ablation["counts"]["records"],
    }


def _ours(markup: str) -> Markup:
    """Markup that this project wrote; what it holds of a run, matplotlib has escaped."""
    return Markup(markup)  # noqa: S704


def _split(text: str) -> tuple[str, str]:
    """The first words of a text, and the rest of it."""
    words = text.split()
    return " ".join(words[:_LEAD_WORDS]), " ".join(words[_LEAD_WORDS:])
