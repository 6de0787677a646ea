"""A model's weights twice: as tensors for reading a text, packed for writing one."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rag_rt.models.routed_decoder.configuration import DecoderConfig
from rag_rt.models.routed_decoder.layout import Weights
from rag_rt.models.routed_decoder.packing import Precision, packed


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer for products with many rows: weights (N, K), biases (N,) or None, norms (H,)."""

    attention_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    feed_forward_norm: Tensor
    gate_up: Tensor
    gate_up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """All weights. In float32, or in bfloat16 where the packed ones are of fewer bits."""

    embeddings: Tensor
    layers: tuple[Layer, ...]
    packed: Weights


def load_weights(model: Any, config: DecoderConfig, precision: Precision) -> LoadedWeights:
    """The weights of a transformers model, which can be thrown away after."""
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    inner = model.get_decoder()
    layers = tuple(_layer(block, dtype) for block in inner.layers)
    head = "int8" if precision == "int4" else precision  # GGUF too keeps the head in 8 bits
    cosines, sines = _angles(inner.rotary_emb, config)
    return LoadedWeights(
        embeddings=inner.embed_tokens.weight.detach().to(dtype),
        layers=layers,
        packed=Weights(
            qkv=packed([x.qkv for x in layers], [x.qkv_bias for x in layers], precision),
            out=packed([x.out for x in layers], [x.out_bias for x in layers], precision),
            gate_up=packed(
                [x.gate_up for x in layers], [x.gate_up_bias for x in layers], precision
            ),
            down=packed([x.down for x in layers], [x.down_bias for x in layers], precision),
            head=packed([model.get_output_embeddings().weight.detach()], [None], head),
            attention_norm=torch.stack([x.attention_norm.float() for x in layers]).numpy(),
            feed_forward_norm=torch.stack([x.feed_forward_norm.float() for x in layers]).numpy(),
            final_norm=inner.norm.weight.detach().float().numpy(),
            cosines=cosines.numpy(),
            sines=sines.numpy(),
        ),
    )


def _layer(block: Any, dtype: torch.dtype) -> Layer:
    attention, feed_forward = block.self_attn, block.mlp
    qkv = _joined([attention.q_proj, attention.k_proj, attention.v_proj], dtype)
    gate_up = _joined([feed_forward.gate_proj, feed_forward.up_proj], dtype)
    return Layer(
        block.input_layernorm.weight.detach().to(dtype),
        *qkv,
        *_joined([attention.o_proj], dtype),
        block.post_attention_layernorm.weight.detach().to(dtype),
        *gate_up,
        *_joined([feed_forward.down_proj], dtype),
    )


def _joined(parts: list[nn.Linear], dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    weight = torch.cat([part.weight.detach() for part in parts]).to(dtype)
    biases = [part.bias for part in parts]
    return weight, torch.cat([b.detach() for b in biases]).to(dtype) if biases[
        0
    ] is not None else None


def _angles(rotary: Any, config: DecoderConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines (context, D/2) of the rotary embedding, float32."""
    with torch.no_grad():
        positions = torch.arange(config.context).unsqueeze(0)
        cosines, sines = rotary(torch.zeros(1, 1, dtype=torch.float32), positions)
    half = config.head_size // 2
    return cosines[0, :, :half].contiguous(), sines[0, :, :half].contiguous()
