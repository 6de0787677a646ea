"""Decoders with tiny random weights, beside the transformers models that they were made from."""

from functools import cache
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, Qwen2Config
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from rag_rt.attention.routed_keys import Routing
from rag_rt.models.routed_decoder import DecoderConfig, Precision, RoutedDecoder
from tests.tiny_models import randomize

VOCABULARY = 101  # no multiple of a vector
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 96,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
}
SMALL_ROUTING = Routing(budget=96, block=64, sinks=8)  # routes from the third block on


def scaled_rope(kind: str) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": 10_000.0, "factor": 4.0}
    if kind == "llama3":
        rope |= {
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    return rope


CONFIGS: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**SIZES, tie_word_embeddings=True),
    "llama with biases": lambda: LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "llama, rope of llama3": lambda: LlamaConfig(**SIZES, rope_parameters=scaled_rope("llama3")),
    "llama, stretched rope": lambda: LlamaConfig(**SIZES, rope_parameters=scaled_rope("linear")),
    "mistral": lambda: MistralConfig(**SIZES, sliding_window=None),
    "qwen2": lambda: Qwen2Config(**SIZES, use_sliding_window=False),
}


@cache
def model(name: str = "llama", attention: str = "sdpa") -> Any:
    config = CONFIGS[name]()
    auto: Any = AutoModelForCausalLM
    made = auto.from_config(config, attn_implementation=attention)
    randomize(made, std=0.3)
    for parameter in made.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.arange(len(parameter)).cos()
    return made.train(False)


@cache
def decoder(
    name: str = "llama", precision: Precision = "float32", routing: Routing | None = None
) -> RoutedDecoder:
    made: LlamaForCausalLM = model(name)
    config = DecoderConfig.of(made.config)
    assert config is not None
    return RoutedDecoder(made, config, precision, routing)


def some_ids(length: int, seed: int = 0) -> list[int]:
    order = torch.Generator().manual_seed(seed)
    ids: list[int] = torch.randint(0, VOCABULARY, (length,), generator=order).tolist()
    return ids
