"""The commands over Routing Transformers: `convert` a published checkpoint, `generate` text."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rag_rt.errors import InvalidRequest

MAX_NEW_TOKENS = 8192  # what the published models read and write together


def convert(
    checkpoint: Annotated[
        Path, typer.Option(help="The checkpoint without its ending, as model.ckpt-100000.")
    ],
    hparams: Annotated[Path, typer.Option(help="The checkpoint's hparams.json.")],
    vocab: Annotated[Path, typer.Option(help="The checkpoint's subword file.")],
    out: Annotated[Path, typer.Option(help="The model directory to write.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read everything again and compare it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Convert a published TensorFlow checkpoint of the Routing Transformer (extra 'tf').

    Example: rag-rt convert --checkpoint model.ckpt-100000 --hparams hparams.json
    --vocab vocab.subwords --out models/rt
    """
    for path in (hparams, vocab):
        if not path.is_file():
            raise InvalidRequest(path.name, f"there is no file {path}; name one that is there")
    from rag_rt.models.routing_transformer.checkpoints import TensorFlowCheckpoint
    from rag_rt.models.routing_transformer.conversion import convert as convert_checkpoint
    from rag_rt.models.routing_transformer.conversion import verify as compare
    from rag_rt.terminal import bar, say

    variables = TensorFlowCheckpoint(checkpoint)
    with bar("Converting variables") as progress:
        assignment = convert_checkpoint(
            checkpoint, hparams, vocab, out, variables=variables, progress=progress
        )
    if verify:
        say(f"Comparing {out} with {checkpoint}")
        compare(variables, assignment, out)
    facts = {
        "directory": str(out),
        "variables": len(assignment.targets),
        "ignored": assignment.ignored,
        "ffn_layer": assignment.config.ffn_layer,
        "vocab_size": assignment.config.vocab_size,
        "verified": verify,
    }
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        say(
            f"{facts['variables']} variables written to {out}, {len(assignment.ignored)} that "
            f"hold no weights left out{', all compared' if verify else ''}"
        )


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
