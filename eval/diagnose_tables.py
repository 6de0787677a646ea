"""What the diagnoses print for people."""

from collections.abc import Mapping

from rich.console import Console

from eval import printing
from eval.ablation import verdict
from eval.bounds import LABELS
from eval.printing import Report

_WRITERS = {
    "true_answers": "answers from true passages",
    "random_answers": "answers from random passages",
    "gold_answers": "the first gold answer",
}

_COPIES = {
    "nearest": "nearest",
    "longest_of_nearest": "longest",
    "best_of_nearest": "best",
}
_LONGEST_QUESTION = 150  # characters of a question in a list of pairs


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
            LABELS[name],
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


def print_ablation(report: Report) -> None:
    """Print the report of `ablate`."""
    console = printing.console()
    _print_changes(console, report)
    title = "Overlap of answers with passages, in percent"
    printing.say(console, printing.marked(title, report), "bold")
    heads = ("true passages", "random passages")
    for measure, row in report["overlap"].items():
        table = printing.table(heads, first=measure)
        for writer, name in _WRITERS.items():
            table.add_row(name, *(printing.percent(row[writer][key]) for key in ("true", "random")))
        console.print(table)
        change = row["change"]
        printing.say(
            console,
            f"Random minus true passages, overlap with the true ones: {_signed(change)}, "
            f"interval {printing.interval(change['interval'])}, p {change['p_value']:.4f}.",
        )
    printing.say(console, verdict(report), "bold")
    counts = report["counts"]
    rho = report["rougel_overlap_spearman"]
    printing.say(
        console,
        f"Questions: {counts['records']}; with the same answer twice: {counts['equal_answers']}; "
        f"with a page that both runs read: {counts['with_a_shared_page']}. Rank correlation of "
        f"ROUGE-L and unigram overlap, true passages: {'none' if rho is None else f'{rho:.2f}'}.",
    )
    printing.print_sources(console, report)
    for warning in report["warnings"]:
        printing.say(console, f"Warning: {warning}")


def print_overlap(report: Report) -> None:
    """Print the report of `overlap`."""
    console = printing.console()
    found, threshold = report["overlapping"], report["threshold"]
    title = "Questions that training asks already"
    printing.say(console, printing.marked(title, report), "bold")
    printing.say(
        console,
        f"{found['questions']} of {found['of']} questions ({printing.percent(found['share'])} %, "
        f"interval {printing.interval(found['interval'])}) have a training question at a cosine "
        f"of {threshold['cosine']} or more ({threshold['encoder']}); in the same words: "
        f"{found['exact_duplicates']}.",
    )
    _print_bands(console, report)
    _print_split(console, report, "Copied training answers, in percent", report["copied_answers"])
    printing.say(
        console,
        f"nearest: the longest answer to the nearest training question; longest and best (by "
        f"ROUGE-L): of all answers to the {report['nearest_considered']} nearest ones.",
    )
    if report["scores"]:
        title = "Figures of the guesses, in percent"
        _print_split(console, report, title, {"guess": report["scores"]})
    printing.say(console, _method(report))
    printing.print_sources(console, report)
    for warning in report["warnings"]:
        printing.say(console, f"Warning: {warning}")


def _print_bands(console: Console, report: Report) -> None:
    table = printing.table(("questions",), first="nearest cosine")
    for band in report["bands"]:
        table.add_row(_band_name(band), str(band["questions"]))
    console.print(table)
    random = report["random_pairs"]
    printing.say(
        console,
        f"Questions drawn at random: half of the pairs are below {random['0.5']:.2f}, all but one "
        f"in a thousand below {random['0.999']:.2f}. Pairs to judge the threshold by:",
    )
    for band in report["bands"]:
        for pair in band["pairs"]:
            text, other = (_shortened(pair[key]) for key in ("question", "training_question"))
            printing.say(console, f"  {pair['cosine']:.2f}  {text}\n        {other}")
    console.print()


def _print_split(console: Console, report: Report, title: str, rows: Mapping[str, Report]) -> None:
    """Figures with and without the overlapping questions."""
    printing.say(console, printing.marked(title, report), "bold")
    table = printing.table(("all", "overlapping", "others", "gap", "interval"))
    for name, row in rows.items():
        for figure, gap in row["gap"].items():
            parts = (row[part]["figures"][figure] for part in ("all", "overlapping", "others"))
            table.add_row(
                f"{_COPIES.get(name, '')} {figure}".strip(),
                *map(_share, parts),
                "none" if gap["difference"] is None else _signed(gap),
                printing.interval(gap["interval"]),
            )
    console.print(table)


def _band_name(band: Report) -> str:
    if band["low"] < 0:
        return f"below {band['high']:.2f}"
    return f"{band['low']:.2f} to {min(1.0, band['high']):.2f}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_QUESTION else f"{line[:_LONGEST_QUESTION]}…"


def print_support(report: Report) -> None:
    """Print the report of `ground`."""
    console = printing.console()
    title = "Sentences that the passages support, in percent"
    printing.say(console, printing.marked(title, report), "bold")
    table = printing.table(("share", "interval", "count"))
    supported, answers = report["supported"], report["answers"]
    rows = {
        "of all sentences": (
            supported["share"],
            supported["interval"],
            f"{supported['sentences']} of {supported['of']}",
        ),
        "of an answer's sentences, mean": (
            answers["mean_share"],
            answers["interval"],
            f"{answers['with_sentences']} answers",
        ),
    }
    for name, (share, interval, count) in rows.items():
        table.add_row(name, _share(share), printing.interval(interval), count)
    console.print(table)
    origins = "; ".join(f"{name} ({n})" for name, n in report["support_from"].items())
    printing.say(
        console,
        f"Answers with every sentence supported: {answers['wholly_supported']}; with none: "
        f"{answers['unsupported']}; empty: {answers['records'] - answers['with_sentences']}. "
        f"Support: {origins or 'no answers'}; threshold {report['threshold']}.",
    )
    printing.say(console, _method(report))
    printing.print_sources(console, report)


def _share(value: float | None) -> str:
    return "none" if value is None else printing.percent(value)


def _print_changes(console: Console, report: Report) -> None:
    title = "Random instead of retrieved passages, in percent"
    printing.say(console, printing.marked(title, report), "bold")
    table = printing.table(("true", "random", "change", "interval", "p"))
    figures = report["figures"]
    official = {
        side: {n: v for section in figures["official"][key].values() for n, v in section.items()}
        for side, key in (("true", "a"), ("random", "b"))
    }
    for name, change in figures["differences"].items():
        row = {**change, **{side: values[name] for side, values in official.items()}}
        table.add_row(name, *_change_cells(row))
    if supported := report["answers"].get("supported"):
        table.add_row("sentences supported", *_change_cells(supported))
    console.print(table)
    words = report["answers"]["words"]
    low, high = words["interval"]
    printing.say(
        console,
        f"Words an answer: {words['true']:.1f} with true passages, {words['random']:.1f} with "
        f"random ones; change {words['difference']:+.1f}, interval {low:.1f} to {high:.1f}.",
    )


def _change_cells(row: Report) -> tuple[str, ...]:
    return (
        printing.percent(row["true"]),
        printing.percent(row["random"]),
        _signed(row),
        printing.interval(row["interval"]),
        f"{row['p_value']:.4f}",
    )


def _signed(change: Report) -> str:
    return f"{100 * change['difference']:+.2f}"


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
