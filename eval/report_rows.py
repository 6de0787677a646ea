"""The rows and sentences that a report says in HTML and in Markdown alike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eval.ablation import verdict
from eval.bounds import LABELS
from eval.printing import interval, percent
from eval.published import SYSTEMS, PublishedRow
from eval.report_data import AnswerRow, ReportData, RunReport
from eval.runs import flat
from eval.significance import FEWEST_TO_TELL, LEVEL

# What KILT's leaderboard of ELI5 shows, in its order, and where the scorer's dictionary has it.
COLUMNS = {
    "R-Prec": ("retrieval", "Rprec"),
    "Recall@5": ("retrieval", "recall@5"),
    "ROUGE-L": ("downstream", "rougel"),
    "F1": ("downstream", "f1"),
    "KILT-RL": ("kilt", "KILT-rougel"),
    "KILT-F1": ("kilt", "KILT-f1"),
}
_KNOWS_IDS = "retriever.index.wikipedia_ids"  # the setting of a run that says so
_SHOWN_QUESTIONS = 3  # of the best and of the worst


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One system: its figures by `COLUMNS` in percent, their intervals, and where they are from.

    `source` is empty for our own runs, which have intervals; a published row has none.
    """

    name: str
    split: str
    figures: tuple[str, ...]
    intervals: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class BoundRow:
    """What a trivial system scores: over all records, and by the published protocol."""

    name: str
    what: str
    all_records: str
    all_interval: str
    protocol: str
    protocol_interval: str
    published: str


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One figure of a run with true and with random passages."""

    name: str
    true: str
    random: str
    change: str
    interval: str
    p_value: str
    is_clear: bool
    """Whether the test tells the change from none."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A question with the answers of all runs to it, in the order of the runs."""

    question: str
    gold: str
    answers: tuple[AnswerRow, ...]


def run_rows(data: ReportData) -> list[ScoreRow]:
    """The scores of the runs."""
    rows = []
    for run in data.runs:
        official, bounds = run.scores["official"], run.scores["intervals"]["figures"]
        rows.append(
            ScoreRow(
                run.name,
                data.gold.name,
                tuple(percent(official[section][name]) for section, name in COLUMNS.values()),
                tuple(interval(bounds[name]) for _, name in COLUMNS.values()),
                "",
            )
        )
    return rows


def published_rows() -> list[ScoreRow]:
    """The published scores, on KILT's own files."""
    return [
        ScoreRow(row.system, f"KILT {row.split}", _figures(row), (), row.source) for row in SYSTEMS
    ]


def bound_rows(data: ReportData) -> list[BoundRow]:
    """ROUGE-L of trivial systems on this file."""
    rows = []
    for name, row in data.bounds["bounds"].items():
        over_all, protocol = (_rougel(row[key]) for key in ("all_records", "protocol"))
        published = row["published_dev_rougel"]
        rows.append(BoundRow(LABELS[name], row["what"], *over_all, *protocol, published))
    return rows


def change_rows(run: RunReport) -> Iterator[ChangeRow]:
    """What random passages change in a run that has an ablation."""
    assert run.ablation is not None
    official, differences = (run.ablation["figures"][key] for key in ("official", "differences"))
    for label, (section, name) in COLUMNS.items():
        true, random = (official[side][section][name] for side in "ab")
        yield _change(label, true, random, differences[name])
    if supported := run.ablation["answers"].get("supported"):
        yield _change("Sentences supported", supported["true"], supported["random"], supported)


def findings(data: ReportData) -> list[tuple[str, str]]:
    """What the figures say: the name of each run, and a few sentences."""
    return [(run.name, _finding(run, data)) for run in data.runs]


def extremes(data: ReportData) -> tuple[list[Shown], list[Shown]]:
    """The best and the worst questions of the first run, by ROUGE-L; empty answers left out."""
    places = [n for n, answer in enumerate(data.runs[0].answers) if answer.text]
    places.sort(key=lambda n: -data.runs[0].answers[n].rougel)
    count = min(_SHOWN_QUESTIONS, (len(places) + 1) // 2)
    worst = places[count:][-_SHOWN_QUESTIONS:]
    return _shown(data, places[:count]), _shown(data, worst[::-1])


def supported(run: RunReport) -> tuple[int, int] | None:
    """Supported sentences and all sentences of a run; None where nothing was grounded."""
    sentences = [sentence for answer in run.answers for sentence in answer.sentences]
    if not sentences:
        return None
    return sum(sentence.supported for sentence in sentences), len(sentences)


def _finding(run: RunReport, data: ReportData) -> str:
    rougel = run.scores["official"]["downstream"]["rougel"]
    low, high = run.scores["intervals"]["figures"]["rougel"]
    said = [
        f"ROUGE-L {percent(rougel)} (interval {interval((low, high))}) over "
        f"{run.scores['counts']['records']} questions.",
        _against_bounds(low, high, run.scores["counts"]["records"], data),
    ]
    if dict(flat(run.settings)).get(_KNOWS_IDS) is False:
        said.append("Its index knows no page ids, so retrieval and KILT figures can only be 0.")
    if run.ablation:
        said.append(verdict(run.ablation))
    if counts := supported(run):
        part, whole = counts
        said.append(
            f"The passages that it read support {part} of {whole} sentences "
            f"({100 * part / whole:.0f} %)."
        )
    return " ".join(said)


def _against_bounds(low: float, high: float, records: int, data: ReportData) -> str:
    """A run's interval beside that of the best system without understanding.

    Both are estimates from the same questions: only intervals that lie apart tell the two apart.
    """
    lower = {
        LABELS[name]: row["all_records"]
        for name, row in data.bounds["bounds"].items()
        if row["all_records"]
    }
    best = max(lower, key=lambda name: lower[name]["figures"]["rougel"])
    least, most = lower[best]["intervals"]["rougel"]
    figure = percent(lower[best]["figures"]["rougel"])
    trivial = f"the best trivial system ({best}, {figure})"
    if records < FEWEST_TO_TELL:
        return f"So few cannot be told apart from {trivial}."
    if low > most:
        return f"That is above {trivial}."
    if high < least:
        return f"That is below {trivial}."
    return f"That cannot be told apart from {trivial}."


def _figures(row: PublishedRow) -> tuple[str, ...]:
    values = (row.rprec, row.recall_at_5, row.rougel, row.f1, row.kilt_rougel, row.kilt_f1)
    return tuple(f"{value:.2f}" for value in values)


def _rougel(summary: Any) -> tuple[str, str]:
    if summary is None:
        return "", ""
    return percent(summary["figures"]["rougel"]), interval(summary["intervals"]["rougel"])


def _change(name: str, true: float, random: float, change: Any) -> ChangeRow:
    low, high = change["interval"]
    return ChangeRow(
        name,
        percent(true),
        percent(random),
        f"{100 * change['difference']:+.2f}",
        interval((low, high)),
        f"{change['p_value']:.4f}",
        change["p_value"] < 1 - LEVEL,
    )


def _shown(data: ReportData, places: Sequence[int]) -> list[Shown]:
    shown = []
    for place in places:
        answers = tuple(run.answers[place] for run in data.runs)
        shown.append(Shown(answers[0].question, answers[0].gold, answers))
    return shown
