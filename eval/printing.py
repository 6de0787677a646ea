"""The looks that the tables of the evaluation share."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

Report = Mapping[str, Any]


_PIPE_WIDTH = 160  # columns where nobody sees them: figures are never cut there


def console() -> Console:
    """Standard output, without colours that were not asked for."""
    screen = Console(highlight=False)
    return screen if screen.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def say(console: Console, line: str, style: str = "") -> None:
    """Print a line of prose, as it is."""
    # Ids may hold lone surrogates, which no terminal takes.
    console.print(Text(line.encode(errors="replace").decode(), style), soft_wrap=True)


def table(heads: Sequence[str], first: str = "figure") -> Table:
    """An empty table: names on the left, figures on the right."""
    empty = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    empty.add_column(first, no_wrap=True)
    for head in heads:
        empty.add_column(head, justify="right", no_wrap=True)
    return empty


def marked(title: str, report: Report) -> str:
    """Say in the title itself that figures are over data that KILT did not publish."""
    return f"{title} ({report['note']})" if report["note"] else title


def print_sources(console: Console, report: Report) -> None:
    """Say where derived records are from."""
    if report["note"]:
        sources = ", ".join(f"{name} ({n})" for name, n in report["derived_sources"].items())
        say(console, f"Note: {report['note']}. Sources of the records: {sources}.")


def percent(value: float) -> str:
    """A fraction as papers print it."""
    return f"{100 * value:.2f}"


def interval(bounds: Sequence[float] | None) -> str:
    """An interval of fractions, in percent."""
    return "none" if bounds is None else f"{100 * bounds[0]:.2f} to {100 * bounds[1]:.2f}"
