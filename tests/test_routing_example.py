"""The example of the docs: its picture shows what the layer does, its page what snippets print."""

import contextlib
import importlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rag_rt.attention.centroids import cluster_scores, on_sphere
from rag_rt.attention.routing import top_windows
from rag_rt.models.routing_transformer import (
    RoutingTransformerConfig,
    RoutingTransformerForCausalLM,
    RoutingTransformerTokenizer,
)

DOCS = Path(__file__).resolve().parents[1] / "docs"
sys.path.insert(0, str(DOCS))
example: Any = importlib.import_module("routing_example")
picture: Any = importlib.import_module("routing_picture")

SENTENCE = "The fox saw the hen, and the hen saw the fox in 1859; neither saw the naturalist. "
LAYER = 1


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> RoutingTransformerTokenizer:
    made: RoutingTransformerTokenizer = example.tokenizer(
        tmp_path_factory.mktemp("example"), [SENTENCE * 30]
    )
    return made


@pytest.fixture(scope="module")
def data(tokens: RoutingTransformerTokenizer) -> Tensor:
    rows: Tensor = example.rows(tokens, [SENTENCE] * 30, 32)
    return rows


@pytest.fixture(scope="module")
def trained(
    tokens: RoutingTransformerTokenizer, data: Tensor
) -> tuple[RoutingTransformerForCausalLM, list[float]]:
    config = RoutingTransformerConfig(
        vocab_size=tokens.vocab_size,
        embedding_dims=16,
        hidden_size=32,
        filter_size=32,
        num_decoder_layers=2,
        max_target_length=32,
        local_num_heads=3,
        query_shape=8,
        memory_query_shape=8,
        memory_flange=8,
        max_relative_position=16,
        sparsity_cluster_num_heads=1,
        sparsity_cluster_size=3,
        sparsity_cluster_attention_window=8,
        sparsity_skip_first=LAYER,
    )
    model = example.untrained(config)
    return model, example.train(model, data[1:], data[:1], steps=60, rate=1e-2)


@pytest.fixture
def model(
    trained: tuple[RoutingTransformerForCausalLM, list[float]],
) -> RoutingTransformerForCausalLM:
    return trained[0]


def observed(model: RoutingTransformerForCausalLM, ids: Tensor, part: str) -> tuple[Any, Any]:
    """What a kind of heads is given in a forward pass, and what it gives."""
    seen: list[tuple[Any, Any]] = []
    heads: Any = getattr(model.get_submodule(f"decoder.{LAYER}.self_attention.body"), part)
    hook = heads.register_forward_hook(lambda _, given, gave: seen.append((given, gave)))
    model.train(False)
    with torch.no_grad():
        model.teacher_forced(ids[None])
    hook.remove()
    return seen[0]


def test_training_lowers_the_loss_and_moves_the_centroids(
    trained: tuple[RoutingTransformerForCausalLM, list[float]],
) -> None:
    model, losses = trained
    begun = example.untrained(model.config)
    name = f"decoder.{LAYER}.self_attention.body.routing.means"
    assert losses[-1] < losses[0] - 1
    assert not torch.equal(model.get_buffer(name), begun.get_buffer(name))


def test_coloured_groups_are_the_top_windows_of_the_layers_real_queries(
    model: RoutingTransformerForCausalLM, tokens: RoutingTransformerTokenizer, data: Tensor
) -> None:
    given, gave = observed(model, data[0], "routing")
    means = model.get_buffer(f"decoder.{LAYER}.self_attention.body.routing.means")
    windows = top_windows(cluster_scores(on_sphere(given[0]), means), 8)
    assert torch.equal(windows, gave.query_windows)

    routing = example.routing_of(model, data[0], LAYER)
    pieces = ["▸ ", *example.spelled(tokens, routing.read[1:])]
    figure = picture.draw(routing, pieces, [["fox"]] * 3, routing.farthest(), "made up")
    patches = [patch for patch in figure.axes[0].patches if patch.get_gid()]
    drawn = {tuple(map(int, patch.get_gid().split())) for patch in patches}
    assert drawn == {(p, c) for c, row in enumerate(windows[0, 0].tolist()) for p in row}
    for patch in patches:
        colour = picture.COLOURS[int(patch.get_gid().split()[1])]
        assert "#" + "".join(f"{round(255 * x):02x}" for x in patch.get_facecolor()[:3]) == colour


@pytest.mark.parametrize("part", ["routing", "local"])
def test_drawn_weights_give_the_output_of_the_head(
    model: RoutingTransformerForCausalLM, data: Tensor, part: str
) -> None:
    tables: Any = model.get_submodule(f"decoder.{LAYER}.self_attention.body.{part}.relative")
    kept = tables.values.detach().clone()
    with torch.no_grad():
        tables.values.zero_()  # so that the output is weights · values
    given, gave = observed(model, data[0], part)
    routing = example.routing_of(model, data[0], LAYER)
    with torch.no_grad():
        tables.values.copy_(kept)
    weights, out = (routing.routed, gave.out) if part == "routing" else (routing.local, gave)
    torch.testing.assert_close(weights @ given[2][0, 0], out[0, 0], atol=1e-5, rtol=1e-5)


def test_pieces_are_the_text(tokens: RoutingTransformerTokenizer) -> None:
    text = "The fox, seen in 1859; unseen naturalist."
    assert "".join(example.spelled(tokens, tokens(text)["input_ids"])) == text


def test_a_position_is_named_by_the_token_it_reads(
    model: RoutingTransformerForCausalLM, data: Tensor
) -> None:
    assert example.routing_of(model, data[0], LAYER).read == [0, *data[0, :-1].tolist()]


def test_snippets_of_the_page_print_what_it_says() -> None:
    page = (DOCS / "routing-example.md").read_text(encoding="utf-8")
    untrained = page.partition("## A trained layer")[0]  # what follows needs the trained weights
    snippets = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", untrained, re.DOTALL)
    assert len(snippets) == untrained.count("```python") == 3
    names: dict[str, Any] = {}
    for code, output in snippets:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == output
