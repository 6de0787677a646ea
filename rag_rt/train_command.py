"""The command `rag-rt train retriever`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_rt.settings import load_settings

if TYPE_CHECKING:
    from retriever.searching import Searcher


def train_retriever(
    data: Annotated[
        list[Path], typer.Option(help="A file of JSON lines; may be given several times.")
    ],
    out: Annotated[Path, typer.Option(help="The encoder's folder to write.")],
    encoder: Annotated[
        str | None, typer.Option(help="Where to start; by default the encoder of the settings.")
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option(help="Examples to measure by; by default a random twentieth of the data."),
    ] = None,
    index: Annotated[
        Path | None, typer.Option(help="An index to mine hard negatives from.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Batches to train on.")] = 500,
    batch: Annotated[
        int, typer.Option(min=2, help="Questions of a batch, each held against all its texts.")
    ] = 128,
    part: Annotated[
        int, typer.Option(min=1, help="Texts computed at once: fewer take less memory.")
    ] = 32,
    negatives: Annotated[
        int, typer.Option(min=0, help="Hard negatives of a question in a batch.")
    ] = 1,
    learning_rate: Annotated[
        float, typer.Option(min=0, max=1, help="At its height; it rises, then falls to 0.")
    ] = 2e-5,
    temperature: Annotated[
        float | None,
        typer.Option(min=0.001, help="Divides the products; by default 0.05 for cosines, else 1."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=8, help="Longer texts are cut off.")] = 256,
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Multiply in bfloat16; weights stay in float32.")
    ] = False,
    every: Annotated[
        int, typer.Option(min=1, help="Steps from one measured checkpoint to the next.")
    ] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is random.")] = 0,
    replace: Annotated[
        bool, typer.Option(help="Discard what another run left in or beside the folder.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what is measured, one JSON object a line.")
    ] = False,
) -> None:
    """Train an encoder on questions and what answers them; go on where a run was stopped.

    Example: rag-rt train retriever --data eli5/train.jsonl.xz --out models/my-encoder
    """
    from rag_rt.terminal import bar, say
    from retriever.training import train
    from retriever.training_plan import Listener, Metrics, Plan, TrainingSettings

    start = encoder or load_settings().encoder
    settings = TrainingSettings(
        steps=steps,
        batch=batch,
        part=part,
        negatives=negatives,
        learning_rate=learning_rate,
        temperature=temperature,
        max_tokens=max_tokens,
        precision="bfloat16" if bfloat16 else "float32",
        every=every,
        seed=seed,
    )

    def tell(metrics: Metrics) -> None:
        if as_json:
            typer.echo(json.dumps(metrics))
        else:
            say("  ".join(f"{name} {value:.4g}" for name, value in metrics.items()))

    plan = Plan(start, data, out, settings, held_out, _searcher(index, start))
    with bar("Training") as progress:
        name = train(plan, Listener(say, tell, progress), discard=replace)
    say(f"Encoder ready; build an index with RAG_RT_ENCODER={name}")


def _searcher(index: Path | None, encoder: str) -> "Searcher | None":
    if index is None:
        return None
    from retriever.index import Index
    from retriever.named_encoders import open_encoder
    from retriever.searching import Retriever

    return Retriever(Index(index), open_encoder(encoder))
