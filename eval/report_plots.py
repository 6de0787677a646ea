"""The plots of a report, as SVG for the inside of its page.

Colours and fonts are the page's own (CSS variables), so that a plot is light by day and dark by
night. Figures are as wide as a phone and grow with the page.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from io import StringIO
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.bounds import LABELS
from eval.ngram_overlap import MEASURES
from eval.published import SYSTEMS
from eval.report_data import ReportData, RunReport

# matplotlib draws in these colours, and each becomes the variable of the page it stands for.
_COLOURS = {
    "ink": "#010101",
    "soft": "#020202",
    "rule": "#030303",
    "paper": "#040404",
    "run-1": "#050505",
    "run-2": "#060606",
    "run-3": "#070707",
    "run-4": "#080808",
}
_SERIES = ("run-1", "run-2", "run-3", "run-4")  # a fifth run takes the first colour again
_LINES = ("-", "--", ":", "-.")
_WIDTH = 4.2  # inches of 72 px: the width of a phone
_ROW = 0.25  # inches a row of dots
_LENGTH_BINS = 24
# Shares of supported sentences, as people say them.
_SUPPORT = ("none", "under half", "half or more", "all")
_LONGEST_NAME = 26  # characters of a label beside an axis
_MEASURES = {"unigram": "words", "bigram": "pairs of words", "content": "content words"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 8.5,
    "text.parse_math": False,  # a run may be named $x$
    "axes.edgecolor": _COLOURS["rule"],
    "axes.labelcolor": _COLOURS["soft"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": _COLOURS["rule"],
    "ytick.color": _COLOURS["rule"],
    "xtick.labelcolor": _COLOURS["soft"],
    "ytick.labelcolor": _COLOURS["ink"],
    "text.color": _COLOURS["ink"],
    "grid.color": _COLOURS["rule"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
}

Draw = Callable[[Figure, Axes], None]


def series(number: int) -> str:
    """The colour of the run with this number, counted from 0, as a variable of the page."""
    return _SERIES[number % len(_SERIES)]


def scores_plot(data: ReportData) -> str:
    """ROUGE-L of the runs, of trivial systems and of published ones, on one axis."""
    rows = [*_run_rows(data), *_bound_rows(data), *_published_rows()]
    title = "ROUGE-L of the runs, of trivial systems and of published systems"
    return _svg("plot-scores", title, len(rows) * _ROW + 0.7, partial(_draw_scores, rows))


def overlap_plot(run: RunReport, number: int) -> str:
    """How much of the true passages the answers hold, written from them and from random ones."""
    title = f"Overlap of the answers of {run.name} with the retrieved passages"
    return _svg(f"plot-overlap-{number}", title, 2.3, partial(_draw_overlap, run, number))


def lengths_plot(data: ReportData) -> str:
    """How long the answers are, those of the runs and the gold ones."""
    title = "Distribution of the lengths of answers"
    return _svg("plot-lengths", title, 2.6, partial(_draw_lengths, data))


def support_plot(runs: Sequence[tuple[int, RunReport]]) -> str:
    """How much of each answer is supported; the runs come with their number on the page."""
    title = "Distribution of the support of answers"
    return _svg("plot-support", title, 2.6, partial(_draw_support, runs))


Row = tuple[str, float, tuple[float, float] | None, str]
"""A name, a figure and its interval in percent, and the variable of its colour."""


def _run_rows(data: ReportData) -> list[Row]:
    rows: list[Row] = []
    for number, run in enumerate(data.runs):
        value = run.scores["official"]["downstream"]["rougel"]
        low, high = run.scores["intervals"]["figures"]["rougel"]
        rows.append((run.name, 100 * value, (100 * low, 100 * high), series(number)))
    return rows


def _bound_rows(data: ReportData) -> list[Row]:
    rows: list[Row] = []
    for name, row in data.bounds["bounds"].items():
        if summary := row["all_records"] or row["protocol"]:
            low, high = summary["intervals"]["rougel"]
            value = 100 * summary["figures"]["rougel"]
            rows.append((LABELS[name], value, (100 * low, 100 * high), "soft"))
    return rows


def _published_rows() -> list[Row]:
    return [(f"{row.system} *", row.rougel, None, "soft") for row in SYSTEMS if row.split == "dev"]


def _draw_scores(rows: Sequence[Row], figure: Figure, axes: Axes) -> None:
    for place, (_, value, interval, colour) in enumerate(rows):
        ink = _COLOURS[colour]
        if interval:
            axes.plot(interval, [place, place], color=ink, lw=2, solid_capstyle="round")
        face = ink if interval else _COLOURS["paper"]
        axes.plot(value, place, marker="o", color=ink, mfc=face, ms=5.5, mew=1.4)
    axes.set_yticks(range(len(rows)), [_short(name) for name, *_ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    _finish(axes, "x", "ROUGE-L, percent")


def _draw_overlap(run: RunReport, number: int, figure: Figure, axes: Axes) -> None:
    assert run.ablation is not None
    overlap, ink = run.ablation["overlap"], _COLOURS[series(number)]
    places = range(len(MEASURES))
    kinds = {
        "true_answers": ("written from retrieved passages", "o", ink, ink),
        "random_answers": ("from random ones", "o", ink, _COLOURS["paper"]),
        "gold_answers": ("gold", "|", _COLOURS["soft"], _COLOURS["soft"]),
    }
    values = {key: [100 * overlap[name][key]["true"] for name in MEASURES] for key in kinds}
    for place in places:
        ends = [values[key][place] for key in ("true_answers", "random_answers")]
        axes.plot(ends, [place, place], color=_COLOURS["rule"], lw=3, zorder=1)
    for key, (label, marker, edge, face) in kinds.items():
        axes.plot(
            values[key], places, marker, color=edge, mfc=face, ms=8, mew=1.6, label=label, ls=""
        )
    axes.set_yticks(places, [_MEASURES[name] for name in MEASURES])
    axes.set_ylim(len(MEASURES) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    _finish(axes, "x", "percent of the answer that stands in the retrieved passages")
    figure.legend(loc="outside upper left", ncols=3, handletextpad=0.2, columnspacing=1)


def _draw_lengths(data: ReportData, figure: Figure, axes: Axes) -> None:
    longest = max(answer.words for run in data.runs for answer in run.answers)
    # A gold answer in twenty is longer than the axis, and stands in its last bin.
    top = max(10.0, 1.05 * longest, float(np.quantile(data.gold_words, 0.95)))
    bins = np.linspace(0, top, _LENGTH_BINS + 1).tolist()
    gold = np.minimum(data.gold_words, top)
    axes.hist(gold, bins, weights=_percent_each(gold), color=_COLOURS["rule"], label="gold")
    for number, run in enumerate(data.runs):
        words = np.array([answer.words for answer in run.answers])
        axes.hist(
            words,
            bins,
            weights=_percent_each(words),
            histtype="step",
            lw=1.8,
            ls=_LINES[number % len(_LINES)],  # where two runs coincide, both are seen
            color=_COLOURS[series(number)],
            label=_short(run.name),
        )
    axes.set_ylabel("percent of answers")
    _finish(axes, "y", "words in an answer")
    figure.legend(loc="outside upper left", ncols=3)


def _draw_support(runs: Sequence[tuple[int, RunReport]], figure: Figure, axes: Axes) -> None:
    width = 0.8 / len(runs)
    for place, (number, run) in enumerate(runs):
        shares = [a.supported_share for a in run.answers if a.supported_share is not None]
        counts = np.bincount([_support(share) for share in shares], minlength=len(_SUPPORT))
        offsets = np.arange(len(_SUPPORT)) - 0.4 + width * (place + 0.5)
        ink = _COLOURS[series(number)]
        heights = 100 * counts / len(shares)
        axes.bar(offsets, heights, width * 0.9, color=ink, label=_short(run.name))
    axes.set_xticks(range(len(_SUPPORT)), _SUPPORT)
    axes.set_ylabel("percent of answers")
    _finish(axes, "y", "supported sentences of an answer")
    figure.legend(loc="outside upper left", ncols=3)


def _support(share: float) -> int:
    """The place in `_SUPPORT` of a share of supported sentences."""
    if share in (0, 1):
        return 0 if share == 0 else 3
    return 1 if share < 0.5 else 2


def _percent_each(values: np.ndarray) -> np.ndarray:
    return np.full(len(values), 100 / max(1, len(values)))


def _finish(axes: Axes, grid: Literal["x", "y"], label: str) -> None:
    axes.set_xlabel(label)
    axes.grid(axis=grid)
    axes.tick_params(length=0)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _svg(name: str, title: str, height: float, draw: Draw) -> str:
    """Draw a figure, and make it part of the page: its colours, its fonts, a name to be read out.

    Ids inside an SVG are those of the whole page; the name keeps two plots from sharing one.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name, "svg.id": name}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure, figure.add_subplot())
        file = StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return _for_the_page(file.getvalue(), name, title)


def _for_the_page(drawn: str, name: str, title: str) -> str:
    svg = drawn[drawn.index("<svg") :]
    for variable, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r"<style.*?</style>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r'id="(?!' + name + r'")', f'id="{name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
