"""The Routing Transformer (Roy et al. 2021), numerically the official TensorFlow program.

Importing this package registers its classes with `AutoConfig`, `AutoModelForCausalLM` and
`AutoTokenizer`.
"""

from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from rag_rt.models.routing_transformer.configuration import RoutingTransformerConfig
from rag_rt.models.routing_transformer.errors import (
    CheckpointError,
    HyperparameterError,
    InputError,
    RoutingTransformerError,
)
from rag_rt.models.routing_transformer.modeling import RoutingTransformerForCausalLM
from rag_rt.models.routing_transformer.tokenization import RoutingTransformerTokenizer

__all__ = [
    "CheckpointError",
    "HyperparameterError",
    "InputError",
    "RoutingTransformerConfig",
    "RoutingTransformerError",
    "RoutingTransformerForCausalLM",
    "RoutingTransformerTokenizer",
]

AutoConfig.register(RoutingTransformerConfig.model_type, RoutingTransformerConfig, exist_ok=True)
AutoModelForCausalLM.register(
    RoutingTransformerConfig, RoutingTransformerForCausalLM, exist_ok=True
)
AutoTokenizer.register(
    RoutingTransformerConfig, slow_tokenizer_class=RoutingTransformerTokenizer, exist_ok=True
)  # type: ignore[no-untyped-call]
