"""Weights of a model in fewer bits, for inference on a processor.

`benchmarks/precision.py` prints what each precision gains and how far it moves the logits.
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from rag_rt.errors import InvalidRequest

Precision = Literal["float32", "bfloat16", "int8"]

_LARGE = 1 << 18  # weights of a layer from which 8 bits are worth their overhead
# The kernel for few rows reads 16 weights at a time, beyond the end of a shorter row too.
_LANES = 16
_FEW_ROWS = 4  # from 8 on, multiplying in bfloat16 is faster than the kernel for few rows


def set_precision(model: nn.Module, precision: Precision) -> None:
    """Keep a model's parameters in a precision, in place. Buffers, as centroids are, stay.

    "int8" keeps large linear layers in 8 bits and all else in bfloat16.

    Raises:
        InvalidRequest: there is no such precision.
    """
    if precision not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise InvalidRequest("precision", f"must be one of {known}, found {precision!r}")
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    if precision == "int8":
        for module in list(model.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Linear) and child.weight.numel() >= _LARGE:
                    setattr(module, name, Int8Linear(child))


class Int8Linear(nn.Module):
    """A linear layer with 8 bits a weight and a scale for each output; bfloat16 in and out."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach().float()  # (out, in)
        scale = (weight.abs().amax(1) / 127).clamp(min=torch.finfo(torch.bfloat16).tiny).bfloat16()
        levels = (weight / scale.float().unsqueeze(-1)).round_().clamp_(-127, 127).to(torch.int8)
        self.register_buffer("weight", pad(levels, (0, -weight.shape[1] % _LANES)))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) to (…, out)."""
        x = pad(x, (0, self.weight.shape[1] - x.shape[-1]))
        rows = x.flatten(0, -2)
        if len(rows) <= _FEW_ROWS:
            out: Tensor = torch._weight_int8pack_mm(rows, self.weight, self.scale)
        else:
            out = linear(rows, self.weight.to(x.dtype)) * self.scale
        if self.bias is not None:
            out += self.bias
        return out.view(*x.shape[:-1], -1)
