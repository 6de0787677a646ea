"""Whether the corpus is about what is asked, or the answer must be that it holds nothing on it."""

from collections.abc import Sequence

from rag_rt.words import content_words
from retriever import Hit

WORDLESS_RELEVANCE = 0.6  # a question that shares no word with its passages must be this close


def covers(question: str, hits: Sequence[Hit], min_relevance: float) -> bool:
    """Whether the closest hit is close enough to the question to be about it.

    The encoder places any text somewhere, a question in a script that it was not trained on too;
    the passages nearest to such a question share no word with it, and must be closer than others.
    `benchmarks/answerable.py` prints which questions this turns away.
    """
    words = content_words(question)
    shared = any(words & content_words(f"{h.passage.title} {h.passage.text}") for h in hits)
    closest = max(hit.similarity for hit in hits)
    return closest >= (min_relevance if shared else WORDLESS_RELEVANCE)
