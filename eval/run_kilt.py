"""The command of the evaluation: `predict`, `validate`, `score` and more, also `rag-rt eval`.

Exit codes: 0 done, 1 failed, 2 wrong usage or bad input.
"""

import typer

from eval import diagnose_command, predict_command, score_command
from rag_rt import failures

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Answer and score KILT question files.",
)


predict_command.register(app)
score_command.register(app)
diagnose_command.register(app)

if __name__ == "__main__":
    with failures.exit_codes("run_kilt.py"):
        app()
