"""The forward pass is the official program's, in every variant that was recorded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rag_rt.models.routing_transformer.heads import Memory
from tests.rag_rt.routing_transformer.recorded import TEACHER_FORCED, Recorded, SeenWindows

Find = Callable[[str], Recorded]
TOLERANCE = 1e-5  # float32; the logits' standard deviation is about 1.5


@pytest.mark.parametrize("name", TEACHER_FORCED)
def test_logits_are_the_official_ones(recorded: Find, name: str) -> None:
    fixture = recorded(name)
    with torch.inference_mode():
        logits = fixture.model().teacher_forced_logits(fixture.tensor("targets"), fixture.inputs)
    assert logits.dtype is torch.float32
    assert (logits - fixture.tensor("logits")).abs().max() < TOLERANCE


@pytest.mark.parametrize("name", TEACHER_FORCED)
def test_every_cluster_takes_the_positions_that_the_official_program_takes(
    recorded: Find, name: str
) -> None:
    fixture = recorded(name)
    model = fixture.model()
    seen = SeenWindows(model)
    with torch.inference_mode():
        model.teacher_forced(fixture.tensor("targets"), fixture.inputs)
    official = {key: value for key, value in fixture.arrays.items() if "::idx#" in key}
    assert seen.found.keys() == official.keys()
    for key, windows in official.items():
        assert np.array_equal(seen.found[key], windows), key


@pytest.mark.parametrize("name", TEACHER_FORCED)
def test_kmeans_losses_are_the_official_ones(recorded: Find, name: str) -> None:
    fixture = recorded(name)
    with torch.inference_mode():
        decoded = fixture.model().teacher_forced(fixture.tensor("targets"), fixture.inputs)
    official = float(fixture.arrays.get("loss/extra_loss", 0))
    assert float(decoded.extra_loss) == pytest.approx(official, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("name", TEACHER_FORCED)
def test_the_training_loss_is_the_official_one(recorded: Find, name: str) -> None:
    fixture = recorded(name)
    with torch.inference_mode():
        loss = fixture.model().teacher_forced_loss(fixture.tensor("targets"), fixture.inputs)
    official = fixture.arrays["loss/training"] + fixture.arrays.get("loss/extra_loss", 0)
    assert float(loss) == pytest.approx(float(official), abs=1e-5)


def test_equal_ids_tie_exactly_whatever_the_rounding_of_their_rows(recorded: Find) -> None:
    routing: Any = recorded("t1_train_ema").model().decoder[1].self_attention.body.routing  # type: ignore[union-attr]
    routing.window = 1
    q = torch.randn(1, 2, 6, 8)
    q[:, :, 3:] = q[:, :, :3] + 1e-6 * torch.randn(1, 2, 3, 8)  # the same three ids twice
    first = torch.tensor([[0, 1, 2, 0, 1, 2]])
    with torch.inference_mode():
        routed = routing(q, q, torch.randn(1, 2, 6, 8), Memory(first=first))
    assert (routed.query_windows < 3).all()


def test_a_later_token_changes_earlier_logits_of_a_routing_layer(recorded: Find) -> None:
    """Clusters take their positions from the whole sequence (SPEC §0.6): faithful, not causal."""
    fixture = recorded("f2_cluster_strided")
    model, targets = fixture.model(), fixture.tensor("targets").clone()
    changed = targets.clone()
    changed[:, 64:] = (changed[:, 64:] + 7) % model.config.vocab_size
    with torch.inference_mode():
        difference = model.teacher_forced_logits(targets) - model.teacher_forced_logits(changed)
    assert difference[:, :64].abs().max() > 1e-3


def test_a_later_token_never_changes_earlier_logits_of_local_layers(recorded: Find) -> None:
    fixture = recorded("a1_local_skip_all")
    model, targets = fixture.model(), fixture.tensor("targets").clone()
    changed = targets.clone()
    changed[:, 64:] = (changed[:, 64:] + 7) % model.config.vocab_size
    with torch.inference_mode():
        difference = model.teacher_forced_logits(targets) - model.teacher_forced_logits(changed)
    assert difference[:, :65].abs().max() < 1e-6
