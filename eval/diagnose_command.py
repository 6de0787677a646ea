"""The diagnoses: do the answers deserve their score?

Exit codes: 0 done, 1 failed, 2 wrong usage or bad input.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from eval.printing import Report
from eval.records import require_rereadable
from eval.score_command import AsJson, GoldFile, GuessFile, Seed, exit_codes

TrainFile = Annotated[
    Path | None,
    typer.Option("--train", metavar="FILE", help="Training questions, KILT JSON lines."),
]
OutFile = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Also write the JSON object here.")
]


def register(app: typer.Typer) -> None:
    """Add the diagnoses to a command line."""
    app.command("bounds")(bounds)
    app.command("ablate")(ablate)
    app.command("overlap")(overlap)
    app.command("ground")(ground)
    app.command("report")(report)


def bounds(
    gold: GoldFile,
    train: TrainFile = None,
    as_json: AsJson = False,
    out: OutFile = None,
    seed: Seed = 0,
) -> None:
    """What trivial systems score on this very file: copied questions, random and gold answers.

    Example: bounds eli5-dev-kilt.jsonl --train eli5-train-kilt.jsonl
    """
    from eval.bounds import bounds_report
    from eval.diagnose_tables import print_bounds
    from rag_rt.terminal import bar

    with exit_codes():
        with bar("Reading, then scoring") as progress:
            found = bounds_report(gold, train, seed=seed, progress=progress)
        _deliver(found, print_bounds, as_json=as_json, out=out)


def ablate(
    true: Annotated[
        Path, typer.Argument(metavar="TRUE", help="Guesses written from the retrieved passages.")
    ],
    random: Annotated[
        Path, typer.Argument(metavar="RANDOM", help="Guesses written from random passages.")
    ],
    gold: GoldFile,
    as_json: AsJson = False,
    out: OutFile = None,
    seed: Seed = 0,
) -> None:
    """Are the answers using what was retrieved? Compare runs with true and with random passages.

    Example: ablate guess.jsonl random.jsonl eli5-dev-kilt.jsonl
    """
    from eval.ablation import ablation_report
    from eval.diagnose_tables import print_ablation
    from rag_rt.terminal import bar

    with exit_codes():
        require_rereadable(true, random, gold)
        with bar("Comparing words") as progress:
            found = ablation_report(true, random, gold, seed=seed, progress=progress)
        _deliver(found, print_ablation, as_json=as_json, out=out)


def overlap(
    gold: GoldFile,
    train: Annotated[
        Path, typer.Option("--train", metavar="FILE", help="Training questions, KILT JSON lines.")
    ],
    guess: Annotated[
        Path | None,
        typer.Option("--guess", metavar="FILE", help="Guesses to score with and without them."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Cosine from which a question counts as asked before."),
    ] = None,
    as_json: AsJson = False,
    out: OutFile = None,
    seed: Seed = 0,
) -> None:
    """Which questions does training ask already, and what do they do to the scores?

    Example: overlap eli5-dev-kilt.jsonl --train eli5-train-kilt.jsonl --guess guess.jsonl
    """
    from eval.diagnose_tables import print_overlap
    from eval.overlap import THRESHOLD, overlap_report
    from rag_rt.retrieval import encoder_of
    from rag_rt.settings import load_settings
    from rag_rt.terminal import bar, waiting

    with exit_codes():
        require_rereadable(gold, *([guess] if guess else []))
        with waiting("Loading the encoder"):
            encoder = encoder_of(load_settings())
        with bar("Reading, then encoding") as progress:
            found = overlap_report(
                gold,
                train,
                guess,
                encoder,
                threshold=THRESHOLD if threshold is None else threshold,
                seed=seed,
                progress=progress,
            )
        _deliver(found, print_overlap, as_json=as_json, out=out)


def ground(
    guess: GuessFile,
    gold: GoldFile,
    index: Annotated[
        Path | None,
        typer.Option(help="Where to look for passages that no run has recorded."),
    ] = None,
    as_json: AsJson = False,
    out: OutFile = None,
    seed: Seed = 0,
) -> None:
    """How many sentences of the answers do the passages support?

    Example: ground guess.jsonl eli5-dev-kilt.jsonl
    """
    from eval.diagnose_tables import print_support
    from eval.grounded_share import SupportFinder, support_report
    from rag_rt.settings import load_settings
    from rag_rt.terminal import bar

    with exit_codes():
        require_rereadable(guess, gold)
        finder = SupportFinder(load_settings(), index)
        with bar("Grounding answers") as progress:
            found = support_report(guess, gold, finder, seed=seed, progress=progress)
        _deliver(found, print_support, as_json=as_json, out=out)


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN…", help="Guess files, each with its details.")
    ],
    gold: Annotated[
        Path, typer.Option("--gold", metavar="FILE", help="The gold records, KILT JSON lines.")
    ],
    random: Annotated[
        list[Path] | None,
        typer.Option(
            "--random",
            metavar="GUESS",
            help="The same run with random passages; once for each RUN, in their order.",
        ),
    ] = None,
    train: TrainFile = None,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The page; the table goes beside it, as .md.")
    ] = Path("report.html"),
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """One HTML page over runs that needs no network, and a Markdown table beside it.

    Example: report guess.jsonl --gold eli5-dev-kilt.jsonl --random random.jsonl --out report.html
    """
    from eval.report import write_report
    from rag_rt.terminal import bar, say

    with exit_codes():
        require_rereadable(*runs, gold, *(random or []))
        with bar("Scoring and diagnosing") as progress:
            data = write_report(runs, gold, random or [], train, out, seed=seed, progress=progress)
        say(f"Written to {out} and {out.with_suffix('.md')}")
    if as_json:
        typer.echo(json.dumps(data.as_json()))


def _deliver(
    found: Report, show: Callable[[Report], None], *, as_json: bool, out: Path | None
) -> None:
    from eval.score_reports import written_whole

    if out:
        with written_whole(out) as file:
            file.write(json.dumps(found, indent=1).encode() + b"\n")
    if as_json:
        typer.echo(json.dumps(found))
    else:
        show(found)
