"""Weights laid out for the kernels: tiles of 16 outputs, in float32, bfloat16, 8 or 4 bits."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from rag_rt.models.routed_decoder.kernels import Linear
from rag_rt.models.routed_decoder.simd import GROUP, LANES

Precision = Literal["float32", "bfloat16", "int8", "int4"]

_HALF_TINY = 2.0**-24  # the least positive float16


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
    weights, scale, least = (torch.stack(column).numpy() for column in zip(*parts, strict=True))
    given = [pad(bias.float(), (0, -len(bias) % LANES)) for bias in biases if bias is not None]
    bias = torch.stack(given) if given else torch.empty(len(layers), 0)
    if precision == "bfloat16":
        weights = weights.view(np.uint16)
    return Linear(weights, scale.view(np.uint16), least.view(np.uint16), bias.numpy())


def _packed_layer(weight: Tensor, precision: Precision) -> tuple[Tensor, Tensor, Tensor]:
    outputs, inputs = weight.shape
    nothing = torch.empty(0, dtype=torch.float16)
    if precision in ("float32", "bfloat16"):
        dtype = torch.float32 if precision == "float32" else torch.bfloat16
        tiles = weight.to(dtype).view(outputs // LANES, LANES, inputs).transpose(1, 2)
        flat = tiles.reshape(-1)
        return (flat.view(torch.int16) if dtype == torch.bfloat16 else flat), nothing, nothing
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
    """Levels -127 … 127 of (N, groups, 32) weights and their scale, in float16."""
    scale = (groups.abs().amax(-1) / 127).clamp(min=_HALF_TINY).half()
    levels = (groups / scale.float().unsqueeze(-1)).round().clamp(-127, 127)
    return levels, scale, scale


def _rounded_4(groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levels 0 … 15 of (N, groups, 32) weights, scale and least value in float16: GGUF's Q4_1."""
    least = groups.amin(-1).half()
    scale = ((groups.amax(-1) - least.float()) / 15).clamp(min=_HALF_TINY).half()
    levels = (
        ((groups - least.float().unsqueeze(-1)) / scale.float().unsqueeze(-1)).round().clamp(0, 15)
    )
    return levels, scale, least
