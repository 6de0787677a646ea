"""Packed weights, read back through the kernel that multiplies by them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_rt.models.routed_decoder import Precision, layout, products
from rag_rt.models.routed_decoder.packing import packed


def unpacked(linear: layout.Linear, outputs: int, inputs: int) -> torch.Tensor:
    """Weights (N, K), as products with unit vectors."""
    padded = -(-outputs // 16) * 16
    x = layout.Input(
        floats=np.eye(inputs, dtype=np.float32).reshape(-1),
        levels=np.zeros(inputs * inputs, np.int8),
        scale=np.zeros(inputs * inputs // 32, np.float32),
        sum=np.zeros(inputs * inputs // 32, np.int32),
    )
    for row in range(inputs):
        products.quantise(x, row, inputs)
    y = np.zeros(inputs * padded, np.float32)
    products.linear(linear, 0, x, y, inputs, inputs, padded, 2)
    return torch.from_numpy(y).view(inputs, padded)[:, :outputs].T


@settings(max_examples=20)
@given(
    outputs=st.integers(1, 40),
    groups=st.integers(1, 3),
    seed=st.integers(0, 99),
    size=st.sampled_from([1e-3, 1.0, 30.0]),
)
@pytest.mark.parametrize(
    ("precision", "steps"), [("float32", 0), ("bfloat16", 512), ("int8", 250), ("int4", 29)]
)
def test_a_weight_comes_back_within_half_a_step(
    precision: Precision, steps: int, outputs: int, groups: int, seed: int, size: float
) -> None:
    weight = torch.randn(outputs, 32 * groups, generator=torch.Generator().manual_seed(seed)) * size
    found = unpacked(packed([weight], [None], precision), outputs, 32 * groups)
    of_group = weight.view(outputs, groups, 32)
    span = of_group.abs().amax(-1, keepdim=True) * 2
    allowed = (span / steps).expand(of_group.shape).reshape(weight.shape) if steps else weight.abs()
    assert ((found - weight).abs() <= (allowed * 1.01 if steps else 1e-6 * allowed)).all()


def test_weights_that_were_four_bits_before_come_back() -> None:
    levels = torch.randint(0, 16, (16, 64), generator=torch.Generator().manual_seed(0))
    levels.view(16, 2, 32)[..., 0], levels.view(16, 2, 32)[..., 1] = 0, 15  # as GGUF writes groups
    weight = (levels * 0.013 - 0.09).bfloat16()
    found = unpacked(packed([weight], [None], "int4"), 16, 64)
    torch.testing.assert_close(found, weight.float(), atol=1e-3, rtol=0)


def test_nothing_but_zeros_is_no_problem() -> None:
    for precision in ("int8", "int4"):
        assert not unpacked(packed([torch.zeros(16, 32)], [None], precision), 16, 32).any()
