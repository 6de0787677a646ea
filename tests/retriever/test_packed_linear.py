"""Products with packed weights against torch's own."""

import pytest
import torch
from torch.nn.functional import gelu, linear

from retriever.packed_linear import PackedLinear, can_pack

ERRORS = {torch.float32: 1e-5, torch.bfloat16: 0.03}


@pytest.mark.parametrize("dtype", ERRORS)
@pytest.mark.parametrize("rows", [1, 16, 130])
@pytest.mark.parametrize("biased", [True, False])
def test_products_are_those_of_torch(dtype: torch.dtype, rows: int, biased: bool) -> None:
    if not can_pack(dtype):
        pytest.skip(f"oneDNN does not multiply in {dtype} on this machine")
    random = torch.Generator().manual_seed(rows)
    x, weight, residual = (
        torch.randn(shape, generator=random) for shape in ((rows, 40), (24, 40), (rows, 24))
    )
    bias = torch.randn(24, generator=random) if biased else None
    packed = PackedLinear(weight.to(dtype), None if bias is None else bias.to(dtype))
    exact = linear(x, weight, bias)
    for found, expected in (
        (packed(x.to(dtype)), exact),
        (packed(x.to(dtype), "gelu", "none"), gelu(exact)),
        (packed.plus(x.to(dtype), residual.to(dtype)), exact + residual),
    ):
        error = (found.float() - expected).abs().max() / expected.abs().max()
        assert error < ERRORS[dtype], error


def test_other_types_are_not_packed() -> None:
    assert not can_pack(torch.float64)
    assert not can_pack(torch.int8)
