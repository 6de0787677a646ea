import weakref
from collections.abc import Callable
from itertools import accumulate, pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from retriever.gradient_cache import backward_in_parts


def model_of(dropout: float, dtype: torch.dtype) -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Linear(5, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 4))
    return nn.Sequential(*layers).to(dtype)


def contrast(vectors: Tensor) -> Tensor:
    """A loss that compares every vector with every other."""
    own = torch.arange(len(vectors)).flip(0)
    return nn.functional.cross_entropy(vectors @ vectors.T, own)


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


sizes = st.lists(st.integers(1, 4), min_size=1, max_size=6)


def parts_of(inputs: Tensor, lengths: list[int], model: nn.Module) -> list[Callable[[], Tensor]]:
    bounds = pairwise(accumulate(lengths, initial=0))
    return [lambda part=inputs[a:b]: model(part) for a, b in bounds]  # type: ignore[misc]


@given(sizes, st.integers(0, 2**31), st.sampled_from([torch.float32, torch.float64]))
def test_gradients_are_those_of_the_whole_batch_in_one_pass(
    lengths: list[int], seed: int, dtype: torch.dtype
) -> None:
    model = model_of(0, dtype)
    order = torch.Generator().manual_seed(seed)
    inputs = torch.randn(sum(lengths), 5, generator=order, dtype=dtype)
    whole = contrast(model(inputs))
    whole.backward()  # type: ignore[no-untyped-call]
    expected = gradients(model)
    model.zero_grad()
    loss = backward_in_parts(parts_of(inputs, lengths, model), contrast)
    torch.testing.assert_close(loss, whole.detach(), rtol=1e-6, atol=1e-6)
    for found, wanted in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@given(sizes, st.integers(0, 2**31))
def test_dropout_falls_on_the_same_places_in_both_passes(lengths: list[int], seed: int) -> None:
    model = model_of(0.5, torch.float64)
    inputs = torch.randn(sum(lengths), 5, dtype=torch.float64)
    parts = parts_of(inputs, lengths, model)
    torch.manual_seed(seed)
    contrast(torch.cat([part() for part in parts])).backward()  # type: ignore[no-untyped-call]
    expected, after = gradients(model), torch.rand(3)
    model.zero_grad()
    torch.manual_seed(seed)
    backward_in_parts(parts, contrast)
    torch.testing.assert_close(torch.rand(3), after, rtol=0, atol=0)  # what follows is drawn anew
    for found, wanted in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def test_gradients_are_added_to_those_that_are_there() -> None:
    model = model_of(0, torch.float64)
    parts = parts_of(torch.randn(6, 5, dtype=torch.float64), [3, 3], model)
    backward_in_parts(parts, contrast)
    once = gradients(model)
    backward_in_parts(parts, contrast)
    for twice, first in zip(gradients(model), once, strict=True):
        torch.testing.assert_close(twice, 2 * first)


class Kept:
    """What a graph keeps for its backward pass."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def test_one_part_at_a_time_holds_a_graph() -> None:
    model = model_of(0, torch.float64)
    kept: weakref.WeakSet[Kept] = weakref.WeakSet()
    graphs = 0

    def keep(tensor: Tensor) -> Kept:
        kept.add(held := Kept(tensor))
        return held

    def part() -> Tensor:
        nonlocal graphs
        assert not kept
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda held: held.tensor):
            vectors: Tensor = model(torch.randn(3, 5, dtype=torch.float64))
        graphs += bool(kept)
        return vectors

    backward_in_parts([part] * 4, contrast)
    assert graphs == 4
