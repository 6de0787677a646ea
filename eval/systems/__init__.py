"""The systems that `predict` runs: a retriever, and a reader that writes from what it finds."""

from eval.systems.opening import open_system
from eval.systems.system import Reader, Reading, System

__all__ = ["Reader", "Reading", "System", "open_system"]
