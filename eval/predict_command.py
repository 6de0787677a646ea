"""The commands `predict` and `validate`.

Exit codes: 0 done; 1 failed, or (`predict`) the guesses are written and not fit to be submitted;
2 wrong usage or bad input, or (`validate`) a guess file that has problems.
"""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eval.score_command import AsJson, exit_codes
from rag_rt.requests import MAX_TOKENS, Request
from retriever.encoder_names import ENCODER_NAMES
from retriever.passages import MAX_PASSAGES

if TYPE_CHECKING:
    from eval.records import Record

NAMED = 5  # problems that predict names; validate names all


def register(app: typer.Typer) -> None:
    """Add `predict` and `validate` to a command line."""
    app.command("predict")(predict)
    app.command("validate")(validate)


def predict(
    questions: Annotated[Path, typer.Option(help="The questions, KILT JSON lines.")],
    out: Annotated[Path, typer.Option(help="The guess file to write.")],
    generator: Annotated[
        str | None,
        typer.Option(
            help="A chat model ('starter', a folder or Hub id), or bart:MODEL, bart-eli5:MODEL, "
            "t5:MODEL, rag-sequence:MODEL, rag-token:MODEL, rt:FOLDER. Default: RAG_RT_GENERATOR."
        ),
    ] = None,
    retriever: Annotated[
        str | None,
        typer.Option(
            help=f"{ENCODER_NAMES}, which built the index of RAG_RT_INDEX; 'none' for a closed "
            "book. Default: RAG_RT_ENCODER."
        ),
    ] = None,
    k: Annotated[
        int, typer.Option(min=1, max=MAX_PASSAGES, help="Passages to retrieve.")
    ] = Request.k,
    max_tokens: Annotated[
        int, typer.Option(min=1, max=MAX_TOKENS, help="Longest answer, in tokens.")
    ] = Request.max_tokens,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Questions that are answered together.")
    ] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is sampled or drawn.")] = 0,
    random_passages: Annotated[
        bool,
        typer.Option(
            "--random-passages",
            help="Read passages of random other pages, the control of 'ablate'; always answers.",
        ),
    ] = False,
    always_answer: Annotated[
        bool,
        typer.Option("--always-answer", help="Never answer that the corpus holds nothing."),
    ] = False,
) -> None:
    """Answer every question of a KILT file; a run that is stopped goes on when it is repeated.

    Example: predict --questions eli5-dev-kilt.jsonl --out guess.jsonl
    """
    from eval import predicting
    from eval.systems import open_system
    from rag_rt.settings import load_settings
    from rag_rt.terminal import bar, say, waiting

    named = {"generator": generator, "encoder": retriever}
    settings = load_settings().model_copy(update={k: v for k, v in named.items() if v is not None})
    with exit_codes():
        # Before the models, which take minutes to load: what is wrong with the files is said first.
        records = predicting.read_questions(questions)
        predicting.require_free(out)
        with waiting("Loading the models"):
            system = open_system(
                settings,
                k=k,
                max_tokens=max_tokens,
                seed=seed,
                check_coverage=not (always_answer or random_passages),
            )
        if random_passages:
            system = system.with_random_passages(seed)
        if system.searcher is not None and not predicting.knows_ids(system):
            say(
                "Note: this index does not know Wikipedia's page ids, so the guesses carry titles "
                "alone, every retrieval figure will be 0 and 'validate' will complain. Build an "
                "index from KILT's knowledge source and name it with RAG_RT_INDEX for real ones."
            )
        with bar("Answering") as progress:
            predicting.predict(system, records, out, batch_size=batch_size, progress=progress)
        say(f"{len(records):,} answers written to {out}")
        _say_sources(records)
        _require_fit(out, records)


def validate(
    guess: Annotated[Path, typer.Argument(metavar="GUESS", help="The guesses, KILT JSON lines.")],
    questions: Annotated[
        Path, typer.Argument(metavar="QUESTIONS", help="The questions that were answered.")
    ],
    as_json: AsJson = False,
) -> None:
    """Say everything that keeps a guess file from being submitted; exit code 2 if anything does.

    Example: validate guess.jsonl eli5-test_without_answers-kilt.jsonl
    """
    from eval.records import RecordFile
    from eval.validating import find_problems

    with exit_codes(), closing(RecordFile(questions)) as records:
        problems = list(find_problems(guess, records))
    if as_json:
        found = [
            {"file": str(p.path), "line": p.line, "record": p.record_id, "problem": p.text}
            for p in problems
        ]
        typer.echo(json.dumps({"valid": not problems, "problems": found}))
    else:
        for problem in problems:
            typer.echo(str(problem), err=True)
        outcome = f"problems: {len(problems):,}" if problems else "can be submitted"
        typer.echo(f"{guess}: {outcome}")
    if problems:
        raise typer.Exit(2)


def _say_sources(questions: Sequence["Record"]) -> None:
    """What the questions are, if not KILT's own."""
    from eval.remarks import derived_source
    from eval.score_reports import DERIVED_NOTE
    from rag_rt.terminal import say

    sources = Counter(filter(None, map(derived_source, questions)))
    if sources:
        listed = ", ".join(f"{name} ({count})" for name, count in sources.most_common(3))
        say(f"Note: {DERIVED_NOTE}. Sources of the records: {listed}.")


def _require_fit(out: Path, questions: Sequence["Record"]) -> None:
    """Fail if this run wrote what cannot be submitted; that its index has no ids was said before.

    Raises:
        typer.Exit: with code 1.
    """
    from eval.remarks import Oddity
    from eval.validating import find_problems
    from rag_rt.terminal import say

    found = [p for p in find_problems(out, questions) if p.text != Oddity.PAGE_MISSING]
    if not found:
        return
    say(f"error: the guesses are not fit to be submitted (problems: {len(found):,}):")
    for problem in found[:NAMED]:
        say(f"  {problem}")
    if len(found) > NAMED:
        say(f"  and {len(found) - NAMED:,} more; 'rag-rt eval validate' names them all")
    raise typer.Exit(1)
