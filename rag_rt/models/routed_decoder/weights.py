"""A model's weights twice: as tensors for reading a text, packed for writing one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rag_rt.models.routed_decoder import layout
from rag_rt.models.routed_decoder.configuration import DecoderConfig
from rag_rt.models.routed_decoder.layout import Weights
from rag_rt.models.routed_decoder.packing import Precision, packed
from retriever.packed_linear import PackedLinear, can_pack

Product = Callable[[Tensor], Tensor]  # (M, K) to (M, N)


@dataclass(frozen=True, slots=True)
class Layer:
    """The linear layers of one layer, for products with many rows."""

    qkv: Product
    out: Product
    gate_up: Product
    down: Product


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """All weights. In float32, or in bfloat16 where the packed ones are of fewer bits."""

    dtype: torch.dtype
    embeddings: Tensor
    layers: tuple[Layer, ...]
    packed: Weights


@dataclass(frozen=True, slots=True)
class _Linear:
    """Weight (N, K) and bias (N,) of linear layers of the same inputs."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, dtype: torch.dtype, *parts: nn.Linear) -> Self:
        weight = torch.cat([part.weight.detach() for part in parts]).to(dtype)
        biases = [part.bias.detach() for part in parts if part.bias is not None]
        return cls(weight, torch.cat(biases).to(dtype) if biases else None)

    @property
    def product(self) -> Product:
        if can_pack(self.weight.dtype):
            return PackedLinear(self.weight, self.bias)
        return partial(linear, weight=self.weight, bias=self.bias)


def load_weights(model: Any, config: DecoderConfig, precision: Precision) -> LoadedWeights:
    """The weights of a transformers model, which can be thrown away after."""
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    inner = model.get_decoder()
    blocks = list(inner.layers)
    attentions = [block.self_attn for block in blocks]
    qkv = [_Linear.of(dtype, each.q_proj, each.k_proj, each.v_proj) for each in attentions]
    out = [_Linear.of(dtype, each.o_proj) for each in attentions]
    gate_up = [_Linear.of(dtype, block.mlp.gate_proj, block.mlp.up_proj) for block in blocks]
    down = [_Linear.of(dtype, block.mlp.down_proj) for block in blocks]
    head = _Linear(model.get_output_embeddings().weight.detach(), None)
    cosines, sines = _angles(inner.rotary_emb, config)
    return LoadedWeights(
        dtype=dtype,
        embeddings=inner.embed_tokens.weight.detach().to(dtype),
        layers=tuple(
            Layer(*(part.product for part in parts))
            for parts in zip(qkv, out, gate_up, down, strict=True)
        ),
        packed=Weights(
            qkv=_packed(qkv, precision),
            out=_packed(out, precision),
            gate_up=_packed(gate_up, precision),
            down=_packed(down, precision),
            # GGUF too keeps the head in 8 bits.
            head=_packed([head], "int8" if precision == "int4" else precision),
            attention_norm=_norms([block.input_layernorm for block in blocks]),
            feed_forward_norm=_norms([block.post_attention_layernorm for block in blocks]),
            final_norm=inner.norm.weight.detach().float().numpy(),
            cosines=cosines.numpy(),
            sines=sines.numpy(),
        ),
    )


def _packed(layers: list[_Linear], precision: Precision) -> layout.Linear:
    return packed([each.weight for each in layers], [each.bias for each in layers], precision)


def _norms(norms: list[Any]) -> layout.Floats:
    return torch.stack([norm.weight.detach().float() for norm in norms]).numpy()


def _angles(rotary: Any, config: DecoderConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines (context, D/2) of the rotary embedding, float32."""
    with torch.no_grad():
        positions = torch.arange(config.context).unsqueeze(0)
        cosines, sines = rotary(torch.zeros(1, 1, dtype=torch.float32), positions)
    half = config.head_size // 2
    return cosines[0, :, :half].contiguous(), sines[0, :, :half].contiguous()
