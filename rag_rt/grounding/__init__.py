"""Which words of which passages support the sentences of an answer, and how likely they do."""

from rag_rt.grounding.grounder import PARTLY, THRESHOLD, Alignment, Entailment, Grounder
from rag_rt.grounding.nli import open_entailment

__all__ = ["PARTLY", "THRESHOLD", "Alignment", "Entailment", "Grounder", "open_entailment"]
