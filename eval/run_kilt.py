"""The command of the evaluation: `predict`, `score`, `compare`. Also mounted as `rag-rt eval`.

Exit codes: 0 done, 1 failed, 2 wrong usage or bad input.
"""

from pathlib import Path
from typing import Annotated

import typer

from eval import diagnose_command, score_command
from eval.score_command import exit_codes
from rag_rt import failures
from rag_rt.requests import Request

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Answer and score KILT question files.",
)


@app.command()
def predict(
    questions: Annotated[Path, typer.Option(help="The questions, KILT JSON lines.")],
    out: Annotated[Path, typer.Option(help="The guess file to write.")],
    k: Annotated[int, typer.Option(help="Passages to retrieve.")] = Request.k,
    max_tokens: Annotated[
        int, typer.Option(help="Longest answer, in tokens.")
    ] = Request.max_tokens,
    seed: Annotated[int, typer.Option(help="Seed of every answer.")] = 0,
) -> None:
    """Answer every question of a KILT file; a run that is stopped goes on when it is repeated.

    Example: predict --questions eli5-dev-kilt.jsonl --out guess.jsonl
    """
    from eval import predicting
    from rag_rt.answerer import Answerer
    from rag_rt.settings import load_settings
    from rag_rt.terminal import bar, say, waiting

    with exit_codes():
        with waiting("Loading the models"):
            answerer = Answerer.from_settings(load_settings())
        if not answerer.retriever.index.manifest.settings["wikipedia_ids"]:
            say(
                "Note: this index does not know Wikipedia's page ids, so the guesses carry titles "
                "alone and every retrieval figure will be 0. Build an index from KILT's knowledge "
                "source and name it with RAG_RT_INDEX for real ones."
            )
        options = predicting.Options(k, max_tokens, seed)
        with bar("Answering") as progress:
            count = predicting.predict(answerer, questions, out, options, progress)
        say(f"{count:,} answers written to {out}")


score_command.register(app)
diagnose_command.register(app)

if __name__ == "__main__":
    with failures.exit_codes("run_kilt.py"):
        app()
