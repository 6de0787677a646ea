"""`convert` a published checkpoint; `generate` text with a Routing Transformer."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rag_rt.errors import InvalidRequest

if TYPE_CHECKING:  # it brings torch, for which --help would wait
    from rag_rt.models.routing_transformer.checkpoints import Variables

MAX_NEW_TOKENS = 8192  # what the published models read and write together


def convert(
    checkpoint: Annotated[
        Path,
        typer.Option(
            help="The checkpoint without its ending, as model.ckpt-100000; or the folder of a "
            "TensorFlow Hub module."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The model directory to write.")],
    hparams: Annotated[
        Path | None, typer.Option(help="A Routing Transformer's hparams.json.")
    ] = None,
    vocab: Annotated[
        Path | None,
        typer.Option(
            help="A Routing Transformer's subword file, or an embedder's vocab.txt, by default "
            "the one in the module's folder."
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read everything again and compare it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Convert a published TensorFlow checkpoint (extra 'tf').

    Which model it is, its variables tell: a Routing Transformer, or the embedder of REALM or
    c-REALM, which is then the encoder realm:DIR.

    Example: rag-rt convert --checkpoint model.ckpt-100000 --hparams hparams.json
    --vocab vocab.subwords --out models/rt

    Example: rag-rt convert --checkpoint retriever --out models/c-realm
    """
    for path in (hparams, vocab):
        if path is not None and not path.is_file():
            raise InvalidRequest(path.name, f"there is no file {path}; name one that is there")
    from rag_rt.models.routing_transformer.checkpoints import TensorFlowCheckpoint
    from retriever.realm_conversion import is_embedder

    is_module = (checkpoint / "variables" / "variables.index").is_file()
    variables = TensorFlowCheckpoint(
        checkpoint / "variables" / "variables" if is_module else checkpoint
    )
    if is_embedder(variables):
        vocab = vocab or (checkpoint if is_module else checkpoint.parent) / "assets" / "vocab.txt"
        facts = _convert_embedder(variables, vocab, out, verify)
    elif hparams is None or vocab is None:
        raise InvalidRequest(
            "hparams" if hparams is None else "vocab",
            "the checkpoint is no embedder of REALM, and a Routing Transformer needs its "
            "hparams.json and its subword file; name both",
        )
    else:
        facts = _convert_routing_transformer(variables, checkpoint, hparams, vocab, out, verify)
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        from rag_rt.terminal import say

        say(
            f"{facts['variables']} variables written to {out}, {len(facts['ignored'])} that "
            f"belong to nothing in it left out{', all compared' if verify else ''}"
        )


def _convert_routing_transformer(
    variables: "Variables", checkpoint: Path, hparams: Path, vocab: Path, out: Path, verify: bool
) -> dict[str, Any]:
    from rag_rt.models.routing_transformer.conversion import convert as convert_checkpoint
    from rag_rt.models.routing_transformer.conversion import verify as compare
    from rag_rt.terminal import bar, say

    with bar("Converting variables") as progress:
        assignment = convert_checkpoint(
            checkpoint, hparams, vocab, out, variables=variables, progress=progress
        )
    if verify:
        say(f"Comparing {out} with {checkpoint}")
        compare(variables, assignment, out)
    return {
        "directory": str(out),
        "variables": len(assignment.targets),
        "ignored": assignment.ignored,
        "ffn_layer": assignment.config.ffn_layer,
        "vocab_size": assignment.config.vocab_size,
        "verified": verify,
    }


def _convert_embedder(
    variables: "Variables", vocab: Path, out: Path, verify: bool
) -> dict[str, Any]:
    from retriever import realm_conversion

    embedder = realm_conversion.convert(variables, vocab, out)
    if verify:
        realm_conversion.verify(variables, embedder, out)
    return {
        "directory": str(out),
        "encoder": f"realm:{out}",
        "variables": len(embedder.sources),
        "ignored": embedder.ignored,
        "dimension": embedder.config.projection_size,
        "vocab_size": embedder.config.vocab_size,
        "verified": verify,
    }


def generate(
    model: Annotated[Path, typer.Option(help="A converted model directory.")],
    text: Annotated[str, typer.Argument(help="The text to continue; - reads standard input.")],
    max_tokens: Annotated[
        int, typer.Option(min=1, max=MAX_NEW_TOKENS, help="Longest continuation, in tokens.")
    ] = 256,
    nucleus: Annotated[float, typer.Option(help="Nucleus of the sampling; 1 turns it off.")] = 0.9,
    temperature: Annotated[
        float, typer.Option(min=0, max=10, help="Divides the logits; 0 takes the likeliest token.")
    ] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="The official top-k; 0 turns it off.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Makes sampling reproducible.")] = 0,
    decoding: Annotated[
        Literal["incremental", "exact"],
        typer.Option(help="'exact' computes the official function anew for every token."),
    ] = "incremental",
    precision: Annotated[
        Literal["float32", "bfloat16", "int8"],
        typer.Option(help="Of the weights; bfloat16 reads, and int8 also writes, faster."),
    ] = "float32",
) -> None:
    """Continue a text with a Routing Transformer, printed as it is written.

    Example: rag-rt generate --model models/rt-pg19 "It was a dark and stormy night"
    """
    import torch
    from transformers import AutoTokenizer, TextStreamer

    from rag_rt.models.precision import set_precision
    from rag_rt.models.routing_transformer import RoutingTransformerForCausalLM
    from rag_rt.models.routing_transformer.conversion import KIND, REMEDY, VERSION
    from rag_rt.models.routing_transformer.incremental import read_in_chunks
    from rag_rt.models.routing_transformer.sampling import official_sampling
    from rag_rt.terminal import bar, say, waiting
    from retriever.artefacts import verified_manifest

    prompt = sys.stdin.read() if text == "-" else text
    if not prompt.strip():
        raise InvalidRequest("text", "the text is empty; give the beginning of one")
    sampled = temperature > 0
    processors = official_sampling(nucleus, temperature, top_k) if sampled else None
    verified_manifest(model, kind=KIND, version=VERSION, remedy=REMEDY)
    with waiting("Loading the model"):
        tokenizer: Any = AutoTokenizer.from_pretrained(model)
        loaded: Any = RoutingTransformerForCausalLM.from_pretrained(model)
        set_precision(loaded, precision)
    loaded.config.decoding = decoding
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    longest = loaded.config.max_target_length
    room = longest - 1 - ids.shape[1]  # the official decoder shifts the text by one position
    if room < 1:
        raise InvalidRequest(
            "text",
            f"the text is {ids.shape[1]:,} tokens long, and the model reads and writes "
            f"{longest - 1:,} together; shorten it",
        )
    if room < max_tokens:
        say(f"Note: the model has room for {room:,} more tokens, not {max_tokens:,}.")
    cache = None
    if decoding == "incremental":
        with bar("Reading the text") as progress:
            cache = read_in_chunks(loaded, ids[:, :-1], progress)
    torch.manual_seed(seed)
    loaded.generate(
        ids,
        past_key_values=cache,
        max_new_tokens=min(max_tokens, room),
        do_sample=sampled,
        top_k=0,  # transformers' own filters stay out of the way of the official ones
        logits_processor=processors,
        streamer=TextStreamer(tokenizer),
    )
