"""Linear layers that multiply in 8 bits: a quarter of the memory, on a CPU.

Weights have a scale for each output, inputs one for each token, both symmetric (LLM.int8(),
Dettmers et al. 2022, §2.1, without its part in 16 bits).
"""

from typing import Any

import torch
from torch import Tensor, nn

_MOST = 127


class Int8Linear(nn.Module):
    """`nn.Linear` (N, K) whose weights and inputs are rounded to 8 bits; results are float32."""

    weight: Tensor
    """(K, N), int8."""
    scale: Tensor
    """(N,) of the weights."""
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        levels, scale = _rounded(linear.weight.detach().float())
        self.register_buffer("weight", levels.t())
        self.register_buffer("scale", scale.squeeze(-1))
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        """x (…, K) to (…, N)."""
        levels, scale = _rounded(x.float().flatten(0, -2))
        product = torch._int_mm(levels, self.weight).float().mul_(scale).mul_(self.scale)
        if self.bias is not None:
            product.add_(self.bias)
        return product.view(*x.shape[:-1], -1)


def multiply_in_int8(model: nn.Module) -> None:
    """Replace every linear layer of a model."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(child))


def multiplies_in_int8(model: Any) -> bool:
    """Whether `multiply_in_int8` replaced layers of this model."""
    return any(isinstance(module, Int8Linear) for module in model.modules())


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Levels (M, K) of -127 to 127 and their scale (M, 1) for each row."""
    scale = rows.abs().amax(-1, keepdim=True).div_(_MOST).clamp_(min=torch.finfo(rows.dtype).tiny)
    return (rows / scale).round_().to(torch.int8), scale
