"""The figures of `benchmarks.routed_quality`: kept as they come, then printed and drawn."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt

Floats = npt.NDArray[np.float64]
# A mean or a share with its 95 % interval.
Interval = tuple[float, float, float]
_RESAMPLES = 10_000


class Figures:
    """A file with a JSON object a line: what was measured, and its figure for each length."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        self._rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def measured(self, what: dict[str, Any], measure: Callable[[], dict[int, float]]) -> None:
        """Measure what the file does not hold yet, and append it."""
        if any(row.items() >= what.items() for row in self._rows):
            return
        row = {**what, "nll": {str(length): nll for length, nll in measure().items()}}
        with self._path.open("a") as lines:
            lines.write(json.dumps(row) + "\n")
        self._rows.append(row)

    def table(self, texts: Iterable[dict[str, Any]], method: str, lengths: Iterable[int]) -> Floats:
        """Nats (texts, lengths) by one method; each text says what else its row must hold."""
        found = [self._row({**text, "method": method}) for text in texts]
        return np.array([[row["nll"][str(length)] for length in lengths] for row in found])

    def _row(self, what: dict[str, Any]) -> dict[str, Any]:
        return next(row for row in self._rows if row.items() >= what.items())


def loss(nlls: Floats, dense: Floats) -> list[Interval]:
    """Nats above dense at each length, from (texts, lengths)."""
    return _with_intervals(lambda drawn: (nlls - dense)[drawn].mean(-2), len(dense))


def recovered(nlls: Floats, dense: Floats, without: Floats) -> list[Interval]:
    """The share of what passages gain by dense attention that a method gains, at each length."""

    def share(drawn: npt.NDArray[np.int64]) -> Floats:
        gain = (without - nlls)[drawn].mean(-2)
        return np.asarray(gain / (without - dense)[drawn].mean(-2))

    return _with_intervals(share, len(dense))


def _with_intervals(
    statistic: Callable[[npt.NDArray[np.int64]], Floats], texts: int
) -> list[Interval]:
    """A statistic of texts, (…, texts) to (…, lengths), and its bootstrap intervals over texts."""
    drawn = np.random.default_rng(0).integers(texts, size=(_RESAMPLES, texts))
    low, high = np.percentile(statistic(drawn), [2.5, 97.5], axis=0)
    return list(zip(statistic(np.arange(texts)), low, high, strict=True))


def print_table(
    title: str, rows: dict[str, list[Interval]], lengths: Iterable[int], form: str
) -> None:
    """A table in Markdown: a row a method, a column a length."""
    print(f"\n{title}\n\n| keys | " + " | ".join(f"{length:,}" for length in lengths) + " |")
    print("|---" * (1 + len(next(iter(rows.values())))) + "|")
    for method, intervals in rows.items():
        cells = (f"{x:{form}} ({low:{form}} to {high:{form}})" for x, low, high in intervals)
        print(f"| {method} | " + " | ".join(cells) + " |")


def draw(
    path: Path,
    panels: dict[str, dict[str, list[Interval]]],
    lengths: tuple[int, ...],
) -> None:
    """A panel a table, a line a method, bars for intervals."""
    size = 5.2 * len(panels), 4.0
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
    for axis, (title, rows) in zip(axes[0], panels.items(), strict=True):
        for number, (method, intervals) in enumerate(rows.items()):
            middle, low, high = np.array(intervals).T
            places = np.log2(lengths) + 0.025 * (number - len(rows) / 2)
            axis.errorbar(
                places, middle, [middle - low, high - middle], label=method, marker="o", capsize=2
            )
        axis.set_xticks(np.log2(lengths), [f"{length:,}" for length in lengths])
        axis.set_xlabel("tokens")
        axis.set_title(title, fontsize=10)
        axis.axhline(0, color="grey", linewidth=0.5)
    lines = axes[0, 0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=len(lines[1]), frameon=False)
    figure.savefig(path, dpi=150)
