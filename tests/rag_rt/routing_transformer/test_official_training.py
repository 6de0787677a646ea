"""A training step is the official program's: gradients, and centroids that follow."""

from collections.abc import Callable

import pytest
import torch

from tests.rag_rt.routing_transformer.recorded import Recorded

Find = Callable[[str], Recorded]


@pytest.mark.parametrize("name", ["t1_train_ema", "t2_train_no_ema"])
def test_gradients_are_the_official_ones(recorded: Find, name: str) -> None:
    fixture = recorded(name)
    model = fixture.model().train()
    model.teacher_forced_loss(fixture.tensor("targets")).backward()
    parameters = dict(model.named_parameters())
    official = fixture.training("grad")
    assert official
    for tensor, gradient in official.items():
        found = parameters[tensor].grad
        assert found is not None, tensor
        assert (found - gradient).abs().max() <= 1e-4 * gradient.abs().max(), tensor


def test_centroids_follow_the_positions_once_a_step(recorded: Find) -> None:
    fixture = recorded("t1_train_ema")
    model = fixture.model().train()
    before, after = fixture.training("before"), fixture.training("after")
    assert any((after[name] - before[name]).abs().max() > 0.1 for name in after)
    model.teacher_forced(fixture.tensor("targets"))
    state = model.state_dict()
    for name, official in after.items():
        assert (state[name] - official).abs().max() < 1e-5, name


def test_evaluation_leaves_centroids_alone(recorded: Find) -> None:
    fixture = recorded("t1_train_ema")
    model = fixture.model()
    model.teacher_forced(fixture.tensor("targets"))
    for name, before in fixture.training("before").items():
        assert torch.equal(model.state_dict()[name], before), name


def test_centroids_without_ema_learn_by_gradient(recorded: Find) -> None:
    fixture = recorded("t2_train_no_ema")
    trained = dict(fixture.model().named_parameters())
    assert any(name.endswith("routing.means") for name in trained)
    assert not any(name.endswith("routing.means") for name, _ in fixture.model().named_buffers())
