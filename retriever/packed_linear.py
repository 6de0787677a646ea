"""A linear layer on a CPU whose weights lie in oneDNN's own layout, so that no call lays them out.

Batches of 128 rows take two thirds of the time of torch's `linear` (docs/LOG.md).
"""

import torch
from torch import Tensor


def can_pack(dtype: torch.dtype) -> bool:
    """Whether `PackedLinear` multiplies in this type on this machine."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    native = dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32 or bool(native)


class PackedLinear:
    """x (M, K) to x · weightᵀ + bias (M, N)."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Lay out a weight (N, K); it and the bias (N,) must be of a type that `can_pack` takes."""
        self._weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self._bias = bias

    def __call__(self, x: Tensor, activation: str = "none", algorithm: str = "") -> Tensor:
        """The product, through an activation that oneDNN knows."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, activation, [], algorithm
        )
        return result

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """The product plus a residual (M, N)."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            x, residual, self._weight, self._bias, "add"
        )
        return result
