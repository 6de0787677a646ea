"""Which pretrained models our own forward pass runs, and their sizes."""

from dataclasses import dataclass
from typing import Any, Self

from rag_rt.models.routed_decoder.vectors import GROUP, LANES

# Their weights have Llama's names and their layers Llama's order.
_TYPES = ("llama", "mistral", "qwen2")
# Embeddings whose angles do not depend on the length of what is read.
_ROPE_TYPES = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Sizes of a Llama-family decoder."""

    vocabulary: int
    context: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    epsilon: float

    @classmethod
    def of(cls, config: Any) -> Self | None:
        """The sizes that a transformers configuration names; None if we do not run such models."""
        if getattr(config, "model_type", None) not in _TYPES or config.hidden_act != "silu":
            return None
        windowed = any(
            kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()
        )
        windowed |= config.model_type == "mistral" and config.sliding_window is not None
        rope = config.rope_parameters.get("rope_type", "default")
        head_size = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        widths = (
            config.hidden_size,
            config.intermediate_size,
            config.num_attention_heads * head_size,
        )
        if (
            windowed
            or rope not in _ROPE_TYPES
            or head_size % LANES
            or any(w % GROUP for w in widths)
        ):
            return None
        return cls(
            vocabulary=config.vocab_size,
            context=config.max_position_embeddings,
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_size=head_size,
            inner=config.intermediate_size,
            epsilon=config.rms_norm_eps,
        )
