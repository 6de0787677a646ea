"""The command `rag-rt`. Exit codes: 0 done, 1 failed, 2 wrong usage or input, 130 stopped."""

import os
from typing import Annotated

import typer

from eval.run_kilt import app as eval_app
from rag_rt.cluster_commands import cluster_app
from rag_rt.failures import exit_codes
from rag_rt.ground_command import ground
from rag_rt.index_commands import app as index_app
from rag_rt.model_commands import convert, generate
from rag_rt.requests import Mode, Request
from rag_rt.settings import load_settings
from rag_rt.train_command import train_retriever
from retriever.search_modes import SearchMode

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Ask a question in plain words; get a cited paragraph from Wikipedia.",
)
train_app = typer.Typer(no_args_is_help=True, help="Train models.")
train_app.command("retriever")(train_retriever)
app.add_typer(index_app, name="index")
app.add_typer(cluster_app, name="cluster")
app.add_typer(train_app, name="train")
app.add_typer(eval_app, name="eval")
app.command()(convert)
app.command()(generate)
app.command()(ground)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def setup() -> None:
    """Prepare the starter models and build the starter index; go on where a run was stopped.

    Example: rag-rt setup
    """
    from rag_rt.setting_up import set_up
    from rag_rt.terminal import bar, say

    set_up(load_settings(), say, bar)


@app.command()
def answer(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    k: Annotated[int, typer.Option(help="Passages to retrieve.")] = Request.k,
    max_tokens: Annotated[
        int, typer.Option(help="Longest answer, in tokens.")
    ] = Request.max_tokens,
    temperature: Annotated[
        float, typer.Option(help="0 takes the likeliest token; above it, sample.")
    ] = Request.temperature,
    top_p: Annotated[
        float, typer.Option(help="Sample among the likeliest tokens of this probability.")
    ] = Request.top_p,
    repetition_penalty: Annotated[
        float, typer.Option(help="Above 1: tokens of the answer come again less easily.")
    ] = Request.repetition_penalty,
    seed: Annotated[int | None, typer.Option(help="Makes sampling reproducible.")] = Request.seed,
    mode: Annotated[
        Mode,
        typer.Option(
            help="grounded: no sentence without support, unless the passages give none; "
            "free: as the model writes; extractive: sentences of the passages, word for word."
        ),
    ] = Request.mode,
    retrieval: Annotated[
        SearchMode | None,
        typer.Option(
            help="How passages are found: dense by vectors, bm25 by words, hybrid by both; by "
            "default as does best."
        ),
    ] = Request.retrieval,
    as_json: AsJson = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown with footnotes.")
    ] = False,
) -> None:
    """Answer a question in one cited paragraph.

    Example: rag-rt answer "Why is the ocean salty?"
    """
    if as_json and as_markdown:
        raise typer.BadParameter("choose one of --json and --markdown")
    request = Request(
        question, k, max_tokens, temperature, top_p, repetition_penalty, seed, mode, retrieval
    )
    from rag_rt.answerer import Answerer
    from rag_rt.markdown import answer_as_markdown
    from rag_rt.terminal import answer_as_json, print_answer, waiting

    with waiting("Loading the models"):
        answerer = Answerer.from_settings(load_settings())
    if as_json:
        typer.echo(answer_as_json(answerer.answer(request)))
    elif as_markdown:
        typer.echo(answer_as_markdown(answerer.answer(request)), nl=False)
    else:
        print_answer(answerer.stream(request))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Serve the web page and the HTTP API.

    Example: rag-rt serve --port 8080
    """
    from service.serving import run

    run(load_settings(), host, port)


def main() -> None:
    """Run the command line."""
    # torch and numba have threads of their own. Idle ones wait by spinning, 100 ms as they come,
    # on cores that the others need; so short a wait made an answer a tenth faster (docs/LOG.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    with exit_codes("rag-rt"):
        app()
