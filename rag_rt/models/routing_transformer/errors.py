"""Errors of the Routing Transformer, each with the field or variable and the rule that it breaks.

RagRtError
└── RoutingTransformerError
    ├── HyperparameterError   a hyperparameter, or two that contradict each other; `field` names it
    ├── InputError            ids or lengths that the model cannot read; `field` names the argument
    └── CheckpointError       a checkpoint does not hold the variables of the model, or no model
"""

from rag_rt.errors import RagRtError


class RoutingTransformerError(RagRtError):
    """Base of the Routing Transformer's errors."""


class HyperparameterError(RoutingTransformerError, ValueError):
    """A hyperparameter is out of bounds, or contradicts another."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class InputError(RoutingTransformerError, ValueError):
    """Ids or lengths that the model cannot read."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class CheckpointError(RoutingTransformerError):
    """A checkpoint does not hold exactly the variables of the model."""
