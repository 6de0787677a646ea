"""Ask a question in plain words; get a cited paragraph from Wikipedia.

`rag_rt.answerer.Answerer` answers; these are the types of what it takes and gives. Importing this
package makes its models known to transformers' auto classes.
"""

from rag_rt.answers import (
    Answer,
    Claim,
    Evidence,
    FinishReason,
    Sentence,
    Status,
    Support,
    Timings,
    Usage,
)
from rag_rt.errors import RagRtError
from rag_rt.models.registration import register_models
from rag_rt.requests import Request
from rag_rt.settings import Settings, load_settings

__all__ = [
    "Answer",
    "Claim",
    "Evidence",
    "FinishReason",
    "RagRtError",
    "Request",
    "Sentence",
    "Settings",
    "Status",
    "Support",
    "Timings",
    "Usage",
    "load_settings",
]

register_models()
