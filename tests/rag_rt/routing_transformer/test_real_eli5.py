"""A model of the published size, 490,718,460 parameters, computes what the official one does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rag_rt.models.routing_transformer import RoutingTransformerForCausalLM
from rag_rt.models.routing_transformer.conversion import load_model
from tests.rag_rt.routing_transformer.rebuilt import RebuiltVariables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def fixture(shared: Path) -> Path:
    return shared / "golden" / "routing_transformer" / "real_eli5"


@pytest.fixture(scope="module")
def model(fixture: Path) -> RoutingTransformerForCausalLM:
    return load_model(RebuiltVariables.of_real_model(fixture), {})


def recorded_windows(model: RoutingTransformerForCausalLM, layer: int) -> Callable[[], Any]:
    """The query windows (B, H, C, W) that a layer will choose."""
    seen: list[Any] = []
    routing: Any = model.decoder[layer].self_attention.body.routing  # type: ignore[union-attr]
    routing.register_forward_hook(lambda *call: seen.append(call[-1].query_windows))
    return lambda: seen[-1].numpy()


def test_it_has_every_parameter_of_the_published_model(
    model: RoutingTransformerForCausalLM,
) -> None:
    trained = sum(p.numel() for p in model.parameters())
    state = dict(model.named_buffers())
    means = sum(b.numel() for name, b in state.items() if name.endswith("routing.means"))
    assert trained + means == 490_710_140
    assert trained + sum(b.numel() for b in state.values()) == 490_718_460


@pytest.mark.parametrize(
    "name", ["L2048_teacher_forced", "L2816_decode_state", "L8192_teacher_forced"]
)
def test_states_and_logits_are_the_official_ones(
    fixture: Path, model: RoutingTransformerForCausalLM, name: str
) -> None:
    recorded = np.load(fixture / f"{name}.npz")
    windows = {layer: recorded_windows(model, layer) for layer in (20, 21)}
    with torch.inference_mode():
        states = model.teacher_forced(torch.from_numpy(recorded["targets"])[None]).states[0]
        logits = model.logits(states[torch.from_numpy(recorded["positions"])])
    hidden = states[torch.from_numpy(recorded["positions"])].numpy()
    assert np.abs(hidden - recorded["final_hidden"]).max() < TOLERANCE
    found = logits[:, torch.from_numpy(recorded["vocab_ids"]).long()].numpy()
    assert np.abs(found - recorded["logits_at_vocab_ids"]).max() < TOLERANCE
    assert np.abs(logits.logsumexp(-1).numpy() - recorded["logits_logsumexp"]).max() < TOLERANCE
    assert np.array_equal(logits.argmax(-1).numpy(), recorded["top32_ids"][:, 0])
    for layer, chosen in windows.items():
        scope = f"decoder_layer_{layer}/self_attention/self_attention/attention_nd"
        official = recorded[f"idx/{scope}/cluster_attention::idx#0"]
        same = sum(
            len(np.intersect1d(mine, theirs))
            for mine, theirs in zip(
                chosen().reshape(-1, 512), official.reshape(-1, 512), strict=True
            )
        )
        # A boundary gap under 1e-4 may go either way; timing.json counts one such at 8,192.
        assert official.size - same <= 2
