"""Weights laid out for the kernels: tiles of 16 outputs, in float32, bfloat16, 8 or 4 bits."""

from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from rag_rt.models.routed_decoder.layout import Linear
from rag_rt.models.routed_decoder.vectors import GROUP, LANES

Precision = Literal["float32", "bfloat16", "int8", "int4"]

_BFLOAT16_STEP = 2.0**-7  # twice its relative rounding
_TINY = torch.finfo(torch.bfloat16).tiny


def packed(layers: list[Tensor], biases: list[Tensor | None], precision: Precision) -> Linear:
    """The same linear layer of every layer of the model.

    Args:
        layers: weights (N, K) of each layer; K a multiple of 32. N is filled up to one of 16.
        biases: (N,) of each layer, or None for all.
        precision: of the weights.
    """
    parts = [
        _packed_layer(pad(weight, (0, 0, 0, -len(weight) % LANES)), precision) for weight in layers
    ]
    weights, scale, least = (torch.stack(column) for column in zip(*parts, strict=True))
    given = [pad(bias.float(), (0, -len(bias) % LANES)) for bias in biases if bias is not None]
    bias = torch.stack(given) if given else torch.empty(len(layers), 0)
    # Copies: numpy asks for huge pages, which torch does not; a step is a seventh faster
    # (docs/LOG.md).
    return Linear(*(array(part).copy() for part in (weights, scale, least, bias)))


def were_four_bits(weight: Tensor) -> bool:
    """Whether weights (N, K) come from groups of 32 levels of 4 bits, as GGUF's Q4_1 holds them.

    Then packing them in 4 bits again moves them by no more than bfloat16 rounds them.
    """
    if weight.shape[1] % GROUP:
        return False
    groups = weight.float().view(len(weight), -1, GROUP)
    levels, scale, least = _rounded_4(groups)
    error = levels * scale.float().unsqueeze(-1) + least.float().unsqueeze(-1) - groups
    return bool(error.norm() < _BFLOAT16_STEP * groups.norm())


def array(numbers: Tensor) -> npt.NDArray[Any]:
    """The same memory as numpy sees it; bfloat16, which numpy has not, as its bits."""
    return (numbers.view(torch.uint16) if numbers.dtype == torch.bfloat16 else numbers).numpy()


def _packed_layer(weight: Tensor, precision: Precision) -> tuple[Tensor, Tensor, Tensor]:
    outputs, inputs = weight.shape
    nothing = torch.empty(0, dtype=torch.bfloat16)
    if precision in ("float32", "bfloat16"):
        dtype = torch.float32 if precision == "float32" else torch.bfloat16
        tiles = weight.to(dtype).view(outputs // LANES, LANES, inputs).transpose(1, 2)
        return tiles.reshape(-1), nothing, nothing
    groups = weight.float().view(outputs, inputs // GROUP, GROUP)
    levels, scale, least = _rounded_8(groups) if precision == "int8" else _rounded_4(groups)
    # (tile, output, group, quad, byte) to (tile, group, quad, output, byte)
    quads = levels.view(outputs // LANES, LANES, inputs // GROUP, GROUP // 4, 4).permute(
        0, 2, 3, 1, 4
    )
    if precision == "int8":
        stored = (quads + 128).to(torch.uint8).reshape(-1).view(torch.int8)
    else:
        low, high = quads.to(torch.uint8).chunk(2, dim=2)
        stored = (low | high << 4).reshape(-1)
    return stored, _by_tile(scale), _by_tile(least) if precision == "int4" else nothing


def _by_tile(numbers: Tensor) -> Tensor:
    """(N, groups) to flat (N/16, groups, 16)."""
    return numbers.view(-1, LANES, numbers.shape[1]).transpose(1, 2).reshape(-1)


def _rounded_8(groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levels -127 … 127 of (N, groups, 32) weights and their scale, in bfloat16."""
    scale = (groups.abs().amax(-1) / 127).clamp(min=_TINY).bfloat16()
    levels = (groups / scale.float().unsqueeze(-1)).round().clamp(-127, 127)
    return levels, scale, scale


def _rounded_4(groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levels 0 … 15 of (N, groups, 32) weights, scale and least value, as GGUF's Q4_1."""
    least = groups.amin(-1).bfloat16()
    scale = ((groups.amax(-1) - least.float()) / 15).clamp(min=_TINY).bfloat16()
    levels = (
        ((groups - least.float().unsqueeze(-1)) / scale.float().unsqueeze(-1)).round().clamp(0, 15)
    )
    return levels, scale, least
