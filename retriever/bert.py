"""BERT's forward pass on a CPU (Devlin et al. 2019, §3): few products, in oneDNN's own layout.

Queries, keys and values are one product; GELU and the residual sums are done while a product's
result is still in registers. Shapes: B texts of T tokens, D wide, H heads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertModel

from retriever.int8_linear import multiplies_in_int8
from retriever.packed_linear import PackedLinear, can_pack

_ACTIVATIONS = {"gelu": ("gelu", "none"), "gelu_new": ("gelu", "tanh"), "relu": ("relu", "")}
"""BERT's, the one of the later TensorFlow program, and ReLU: oneDNN's names and algorithms."""


def is_packable(model: Any) -> bool:
    """Whether `PackedBert` computes what this model does, on this machine."""
    return (
        type(model) is BertModel
        and not getattr(model.config, "is_decoder", False)
        and model.config.hidden_act in _ACTIVATIONS
        and can_pack(model.dtype)
        and not multiplies_in_int8(model)
    )


class PackedBert:
    """The weights of a `BertModel`, laid out for products, and its forward pass."""

    def __init__(self, model: BertModel) -> None:
        self._embeddings = model.embeddings
        self._layers = [_Layer.of(layer, model.config) for layer in model.encoder.layer]

    def states(self, ids: Tensor, kept: Tensor, types: Tensor | None) -> Iterator[Tensor]:
        """Hidden states (B, T, D): of the embeddings, then of each layer.

        Args:
            ids: of tokens (B, T).
            kept: False (B, T) on padding.
            types: of segments (B, T); None where all have type 0.
        """
        batch, tokens = ids.shape
        mask = None if kept.all() else kept[:, None, None, :]  # for (B, H, T, T)
        x = self._embeddings(input_ids=ids, token_type_ids=types)
        yield x
        x = x.view(batch * tokens, -1)
        for layer in self._layers:
            x = layer(x, batch, mask)  # (B·T, D)
            yield x.view(batch, tokens, -1)


def _joined(*linears: Any) -> PackedLinear:
    weight = torch.cat([linear.weight.detach() for linear in linears])
    return PackedLinear(weight, torch.cat([linear.bias.detach() for linear in linears]))


@dataclass(frozen=True, slots=True)
class _Layer:
    heads: int
    activation: tuple[str, str]
    query_key_value: PackedLinear
    output: PackedLinear
    output_norm: nn.Module
    up: PackedLinear
    down: PackedLinear
    down_norm: nn.Module

    @classmethod
    def of(cls, layer: Any, config: Any) -> "_Layer":
        own, output = layer.attention.self, layer.attention.output
        return cls(
            config.num_attention_heads,
            _ACTIVATIONS[config.hidden_act],
            _joined(own.query, own.key, own.value),
            _joined(output.dense),
            output.LayerNorm,
            _joined(layer.intermediate.dense),
            _joined(layer.output.dense),
            layer.output.LayerNorm,
        )

    def __call__(self, x: Tensor, batch: int, mask: Tensor | None) -> Tensor:
        parts = self.query_key_value(x).view(batch, -1, 3, self.heads, x.shape[1] // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (B, H, T, D/H)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        seen = seen.transpose(1, 2).reshape(x.shape)
        x = self.output_norm(self.output.plus(seen, x))
        x = self.down_norm(self.down.plus(self.up(x, *self.activation), x))
        return x
