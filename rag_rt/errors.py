"""Errors of the pipeline. Each message says what was expected, what was found and what mends it.

RagRtError
├── SettingsError     a RAG_RT_… variable does not hold what it must
├── InvalidRequest    a question or one of its options is out of bounds; `field` names which
├── GeneratorError    a generator cannot be loaded
├── EntailmentError   a model of entailment cannot be loaded, or does not say what entails
├── PromptTooLong     a prompt does not fit the generator's context
├── ServingError      the service cannot listen where it is told to
├── UnsupportedAttention      (rag_rt.models.routed_attention: what routing has no form for)
└── RoutingTransformerError   (rag_rt.models.routing_transformer.errors, with a tree of its own)
"""


class RagRtError(Exception):
    """Base of every error that the pipeline raises on purpose."""


class SettingsError(RagRtError):
    """A `RAG_RT_…` variable does not hold what it must."""


class InvalidRequest(RagRtError, ValueError):
    """A question or one of its options is out of bounds."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class GeneratorError(RagRtError):
    """A generator cannot be loaded."""


class EntailmentError(RagRtError):
    """A model of entailment cannot be loaded, or none of its labels means that it entails."""


class PromptTooLong(RagRtError):
    """A prompt does not fit the generator's context."""


class ServingError(RagRtError):
    """The service cannot listen where it is told to."""
