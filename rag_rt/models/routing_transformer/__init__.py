"""The Routing Transformer (Roy et al. 2021), numerically the official TensorFlow program.

`import rag_rt` registers its classes with `AutoConfig`, `AutoModelForCausalLM` and `AutoTokenizer`
(`rag_rt.models.registration`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_MODULES = {
    "RoutingTransformerConfig": "configuration",
    "RoutingTransformerForCausalLM": "modeling",
    "RoutingTransformerTokenizer": "tokenization",
}


def __getattr__(name: str) -> object:
    """Import a class when it is asked for: transformers registers them one by one."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
