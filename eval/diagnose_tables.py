"""What the diagnoses print for people."""

from eval import printing
from eval.printing import Report

# Short enough for a table on 80 columns.
_BOUNDS = {
    "copy_input": "copy input",
    "random_train_ans": "random answer",
    "random_train_ans_longest": "random longest",
    "longest_gold": "longest gold",
    "best_gold": "best gold",
}


def print_bounds(report: Report) -> None:
    """Print the report of `bounds`."""
    console = printing.console()
    counts = report["counts"]
    title = "What trivial systems score here, in percent"
    printing.say(console, printing.marked(title, report), "bold")
    heads = ("rougel", "interval", "f1", "all: rougel", "published")
    table = printing.table(heads, first="bound")
    for name, row in report["bounds"].items():
        table.add_row(
            _BOUNDS[name],
            *_pair(row["protocol"]),
            _figure(row["protocol"], "f1"),
            _figure(row["all_records"], "rougel"),
            row["published_dev_rougel"],
        )
    console.print(table)
    printing.say(
        console,
        f"The first three columns are over the {counts['protocol']} records with at least two gold "
        f"answers, as published; left out: {counts['with_one_answer']} with one, "
        f"{counts['with_equal_answers']} with two equal ones. 'all' is over all "
        f"{counts['records_with_answers']} records, comparable with a system's score. "
        f"'published' is ROUGE-L on KILT's own ELI5 dev set: {report['published']}.",
    )
    if not counts["training_questions"]:
        printing.say(console, "Random training answers are left out: name a file with --train.")
    printing.say(console, _method(report))
    printing.print_sources(console, report)


def _pair(summary: Report | None) -> tuple[str, str]:
    """ROUGE-L and its interval."""
    if summary is None:
        return "", ""
    return _figure(summary, "rougel"), printing.interval(summary["intervals"]["rougel"])


def _figure(summary: Report | None, name: str) -> str:
    return "" if summary is None else printing.percent(summary["figures"][name])


def _method(report: Report) -> str:
    intervals = report["intervals"]
    return (
        f"Intervals: {intervals['level']:.0%}, percentile bootstrap over questions, "
        f"{intervals['resamples']} resamples, seed {intervals['seed']}."
    )
