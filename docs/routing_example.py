"""Train a small Routing Transformer on the starter corpus, and draw what one of its heads routes.

    OMP_NUM_THREADS=1 python docs/routing_example.py --out runs/routing-example

trains where the folder holds no weights, and draws `docs/routing-clusters.png`. The page
`docs/routing-example.md` tells what the picture shows.
"""

import argparse
import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from routing_picture import LETTERS, Routing, draw
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from rag_rt.attention.centroids import cluster_scores, on_sphere
from rag_rt.attention.local import local_attention
from rag_rt.attention.relative import RelativeTables
from rag_rt.attention.routing import routed_attention, top_windows
from rag_rt.models.routing_transformer import (
    RoutingTransformerConfig,
    RoutingTransformerForCausalLM,
    RoutingTransformerTokenizer,
)
from rag_rt.models.routing_transformer.layers import Attention, Layer
from rag_rt.models.routing_transformer.tokenization import VOCABULARY_FILE
from retriever.sources import starter

LENGTH = 256  # tokens of a text: the whole of one can be read in a picture
VOCABULARY = 6000  # a third of a step is the output layer, and grows with this
PIECES = 1200  # of them parts of words
HELD_OUT = 200  # articles
WARM_UP = 100  # steps
FALL = 2000  # steps after which the rate would be zero
LAYER = 1  # the one that is drawn, from 0

SOURCE = "Charles Darwin, On the Origin of Species, 1859: the end of the last paragraph"
TEXT = """\
These laws, taken in the largest sense, being Growth with Reproduction; Inheritance which is
almost implied by reproduction; Variability from the indirect and direct action of the external
conditions of life, and from use and disuse; a Ratio of Increase so high as to lead to a Struggle
for Life, and as a consequence to Natural Selection, entailing Divergence of Character and the
Extinction of less-improved forms. Thus, from the war of nature, from famine and death, the most
exalted object which we are capable of conceiving, namely, the production of the higher animals,
directly follows. There is grandeur in this view of life, with its several powers, having been
originally breathed into a few forms or into one; and that, whilst this planet has gone cycling on
according to the fixed law of gravity, from so simple a beginning endless forms most beautiful and
most wonderful have been, and are being, evolved."""


def config(vocab_size: int) -> RoutingTransformerConfig:
    """Three layers, of which the last two route one head of four to eight clusters of 32."""
    return RoutingTransformerConfig(
        vocab_size=vocab_size,
        embedding_dims=128,
        hidden_size=256,
        filter_size=512,
        num_decoder_layers=3,
        max_target_length=LENGTH,
        local_num_heads=3,
        query_shape=32,
        memory_query_shape=32,
        memory_flange=32,
        max_relative_position=64,
        # One head: with more, the published averages of centroids share counts between heads.
        sparsity_cluster_num_heads=1,
        sparsity_cluster_size=8,
        sparsity_cluster_attention_window=LENGTH // 8,
        sparsity_skip_first=1,
    )


def untrained(settings: RoutingTransformerConfig, seed: int = 0) -> RoutingTransformerForCausalLM:
    """A model to train from scratch."""
    torch.manual_seed(seed)
    model = RoutingTransformerForCausalLM(settings)
    # Unit variance in each layer, as tensor2tensor starts. The class's own start is for models that
    # are read from a checkpoint: with it the tables of positions drown the words.
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    nn.init.normal_(model.embedding.weight)
    return model


def articles(seed: int = 0) -> list[str]:
    """The texts of the starter corpus, shuffled; the last `HELD_OUT` are not trained on."""
    texts = [" ".join(page.text.split()) for page in starter.pages()]
    random.Random(seed).shuffle(texts)  # noqa: S311  # no secret
    return texts


def vocabulary(texts: Iterable[str], size: int, pieces: int) -> list[str]:
    """Subtokens: two control tokens, characters, the most frequent words, and parts of others."""
    runs = Counter(run for text in texts for run in re.findall(r"[^\W_]+|[\W_]+", text))
    del runs[" "]  # a space between two words is implied
    escaped = {
        run.replace("\\", "\\\\").replace("_", "\\u") + "_": n for run, n in runs.most_common()
    }
    characters: Counter[str] = Counter()
    for run, n in escaped.items():
        characters.update(dict.fromkeys(run, n))
    common = [c for c, n in characters.items() if n >= 20]  # others are written as their numbers
    alphabet = sorted({*common, *"\\_u;0123456789<pad>EOS"})  # of escapes and control tokens
    words = list(escaped)[: size - pieces - len(alphabet) - 2]
    parts: Counter[str] = Counter()
    for run in list(escaped)[len(words) :]:
        for start in range(len(run)):
            for end in range(start + 2, min(start + 6, len(run)) + 1):
                parts[run[start:end]] += escaped[run] * (end - start - 1)
    best = [part for part, _ in parts.most_common(2 * pieces)]
    ordered = dict.fromkeys(["<pad>_", "<EOS>_", *alphabet, *words, *best])
    return list(ordered)[:size]


def tokenizer(out: Path, texts: Iterable[str]) -> RoutingTransformerTokenizer:
    """The tokenizer kept in a folder; made of the texts where there is none."""
    path = out / VOCABULARY_FILE
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        lines = (f"'{subtoken}'\n" for subtoken in vocabulary(texts, VOCABULARY, PIECES))
        path.write_text("".join(lines), encoding="utf-8")
    return RoutingTransformerTokenizer(str(path))


def rows(tokens: RoutingTransformerTokenizer, texts: Iterable[str], length: int) -> Tensor:
    """Texts one after another, each with its end, cut to (rows, length)."""
    ids = [i for text in texts for i in (*tokens(text)["input_ids"], tokens.eos_token_id)]
    return torch.tensor(ids[: len(ids) // length * length]).view(-1, length)


def batches(data: Tensor, size: int, seed: int) -> Iterator[Tensor]:
    """Batches (B, L) without end, in a new order each time all have been seen."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(data), generator=generator)
        for chosen in order[: len(data) // size * size].view(-1, size):
            yield data[chosen]


def train(
    model: RoutingTransformerForCausalLM,
    data: Tensor,
    held_out: Tensor,
    *,
    steps: int,
    batch: int = 4,
    rate: float = 2e-3,
    report_every: int = 100,
    seed: int = 0,
) -> list[float]:
    """Minimise the official loss with Adam; gives the loss of each step.

    The rate rises for `WARM_UP` steps, and falls towards zero at `FALL`.
    """
    optimiser = Adam(model.parameters(), lr=rate, betas=(0.9, 0.98))
    schedule = LambdaLR(optimiser, lambda n: min((n + 1) / WARM_UP, 1.0) * (1 - n / FALL))
    losses: list[float] = []
    begun = time.monotonic()
    for step, targets in zip(range(1, steps + 1), batches(data, batch, seed), strict=False):
        model.train()  # centroids follow in each forward pass
        loss = model.teacher_forced_loss(targets)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch declares no types for it
        clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % report_every == 0 or step == steps:
            recent = sum(losses[-report_every:]) / len(losses[-report_every:])
            minutes = (time.monotonic() - begun) / 60
            text = f"step {step:5}  loss {recent:.2f}  held out {evaluated(model, held_out):.2f}"
            print(f"{text}  {minutes:.1f} min", flush=True)
    return losses


@torch.no_grad()
def evaluated(model: RoutingTransformerForCausalLM, data: Tensor) -> float:
    """The mean loss of rows (N, L)."""
    model.train(False)
    return sum(model.teacher_forced_loss(row[None]).item() for row in data) / len(data)


@torch.no_grad()
def routing_of(model: RoutingTransformerForCausalLM, ids: Tensor, layer: int) -> Routing:
    """What the first routing head and the first local head of a layer do with ids (L)."""
    attention = cast("Attention", cast("Layer", model.decoder[layer]).self_attention.body)
    routing, near = attention.routing, attention.local
    if routing is None or near is None or routing.relative is None or near.relative is None:
        raise ValueError(f"layer {layer} must have routing and local heads with positions")
    given: dict[nn.Module, tuple[Any, ...]] = {}
    hooks = [
        part.register_forward_pre_hook(lambda module, args: given.update({module: args}))
        for part in (routing, near)
    ]
    model.train(False)
    model.teacher_forced(ids[None])
    for hook in hooks:
        hook.remove()
    q = on_sphere(given[routing][0][:, :1])  # (1, 1, L, D)
    scores = cluster_scores(q, routing.means[:1])  # (1, 1, C, L)
    windows = top_windows(scores, routing.window)
    # A head whose values are one-hot gives the weights themselves.
    one_hot = torch.eye(len(ids))[None, None]
    far, by = (
        RelativeTables(r.keys, torch.zeros(len(r.keys), len(ids)))
        for r in (routing.relative, near.relative)
    )
    routed = routed_attention(q, q, one_hot, windows, windows, causal=True, relative=far)
    q, k = (x[:, :1] for x in given[near][:2])
    block, flange = near.query_block, near.flange
    local = local_attention(
        q,
        k,
        one_hot,
        query_block=block,
        memory_block=block,
        flange=flange,
        causal=True,
        relative=by,
    )
    return Routing([0, *ids[:-1].tolist()], scores[0, 0], windows[0, 0], routed[0, 0], local[0, 0])


def fitting(
    model: RoutingTransformerForCausalLM, texts: Tensor, layer: int, least: int = 8
) -> Tensor:
    """For each cluster the ids that score highest with its centroid: texts (N, L) to (C, 20).

    By their mean, of those that are read at least so many times.
    """
    found = [routing_of(model, ids, layer) for ids in texts]
    read = torch.tensor([i for routing in found for i in routing.read])
    scores = torch.cat([routing.scores for routing in found], 1)  # (C, N·L)
    count = read.bincount(minlength=model.config.vocab_size)
    total = scores.new_zeros(len(scores), len(count)).index_add(1, read, scores)
    return (total / count).masked_fill(count < least, -torch.inf).topk(20).indices


def read_ids(
    model: RoutingTransformerForCausalLM, tokens: RoutingTransformerTokenizer, text: str
) -> Tensor:
    """The ids (L) of a text, cut to a whole number of blocks of at most the model's length."""
    ids: list[int] = tokens(" ".join(text.split()))["input_ids"]
    block = model.config.query_shape
    length = min((len(ids) + 1) // block * block, model.config.max_target_length)
    return torch.tensor([*ids, 0][:length])  # the last position reads the id before the last


def spelled(tokens: RoutingTransformerTokenizer, ids: Sequence[int]) -> list[str]:
    """The text of each id; together they are the text of all."""
    subtokens = tokens.convert_ids_to_tokens(list(ids))
    texts = [tokens.convert_tokens_to_string(subtokens[:n]) for n in range(len(ids) + 1)]
    return [text[len(before) :] for before, text in pairwise(texts)]


def named(subtoken: str) -> str:
    """How a list shows a subtoken: a hyphen where its word goes on."""
    known = {"<pad>_": "(start)", "<EOS>_": "(end)", "_": "(word's end)"}
    return known.get(subtoken) or (subtoken[:-1].strip() if subtoken[-1] == "_" else subtoken + "-")


def main() -> None:
    """Train where the folder holds no weights, then draw."""
    parser = argparse.ArgumentParser(description="Draw what a routing head puts together.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained weights")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--layer", type=int, default=LAYER, help="1 or 2")
    parser.add_argument("--text", type=Path, help="a text to draw in place of Darwin's")
    parser.add_argument("--word", help="the token whose attention is drawn, where it stands first")
    parser.add_argument("--picture", type=Path, default=Path("docs/routing-clusters.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus = articles()
    tokens = tokenizer(options.out, corpus[:-HELD_OUT])
    held_out = rows(tokens, corpus[-HELD_OUT:], LENGTH)
    if not (options.out / "config.json").exists():
        model = untrained(config(tokens.vocab_size))
        print(f"{model.num_parameters():,} parameters")
        data = rows(tokens, corpus[:-HELD_OUT], LENGTH)
        train(model, data, held_out[:16], steps=options.steps)
        model.save_pretrained(options.out)
    model = RoutingTransformerForCausalLM.from_pretrained(options.out)
    source = options.text.name if options.text else SOURCE
    text = options.text.read_text(encoding="utf-8") if options.text else TEXT
    routing = routing_of(model, read_ids(model, tokens, text), options.layer)
    pieces = ["▸ ", *spelled(tokens, routing.read[1:])]
    position = routing.farthest()
    if options.word:
        position = [piece.strip() for piece in pieces].index(options.word)
    lists = [
        [named(str(tokens.convert_ids_to_tokens(i))) for i in ids]
        for ids in fitting(model, held_out, options.layer).tolist()
    ]
    for letter, window, row in zip(LETTERS, routing.windows.tolist(), lists, strict=False):
        print(f"{letter} in the text: {' '.join(pieces[p].strip() for p in window)}")
        print(f"  in held-out articles: {' '.join(row[:12])}")
    draw(routing, pieces, lists, position, source).savefig(options.picture)


if __name__ == "__main__":
    main()
