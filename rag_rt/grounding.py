"""Which words of which passage support a sentence of an answer, or that none do.

First version: a passage sentence is scored by the mean of its cosine to the answer sentence and the
share of the answer sentence's content words that it holds; numbers must be among the passage's.
`benchmarks/grounding_support.py` prints how often human judges agree.
"""

from rag_rt.answers import Evidence, Sentence, Support
from rag_rt.evidence import EvidencePool, SourceSentence
from rag_rt.words import content_words, numbers
from retriever.encoders import Encoder

THRESHOLD = 0.6  # 91 % of the sentences called supported are, by human judges (the benchmark)


class Grounder:
    """Finds the support of sentences in one pool of evidence."""

    def __init__(self, pool: EvidencePool, encoder: Encoder) -> None:
        self._pool = pool
        self._encoder = encoder
        self._words = [content_words(sentence.text) for sentence in pool.sentences]

    def ground(self, answer: str, start: int, end: int) -> Sentence:
        """The sentence `answer[start:end]` with the passage sentence that supports it best.

        A sentence whose best score is below `THRESHOLD` is unsupported and carries no evidence.
        """
        text = answer[start:end]
        scores = self.scores(text)
        best = max(range(len(scores)), key=scores.__getitem__, default=None)
        if best is None or scores[best] < THRESHOLD:
            return Sentence(start, end, Support.UNSUPPORTED, ())
        source = self._pool.sentences[best]
        if not numbers(text) <= numbers(self._passage_text(source)):
            return Sentence(start, end, Support.UNSUPPORTED, ())
        evidence = Evidence(
            passage_id=self._pool.hits[source.hit].passage.id,
            start=source.start,
            end=source.end,
            quote=source.text,
            score=scores[best],
        )
        return Sentence(start, end, Support.SUPPORTED, (evidence,))

    def scores(self, text: str) -> list[float]:
        """How well each sentence of the pool supports `text`, in [0, 1]."""
        words = content_words(text)
        if not words:
            return [0.0] * len(self._words)
        cosines = self._pool.vectors @ self._encoder.encode([text])[0]
        return [
            (min(1.0, max(0.0, float(cosine))) + len(words & source) / len(words)) / 2
            for cosine, source in zip(cosines, self._words, strict=True)
        ]

    def _passage_text(self, source: SourceSentence) -> str:
        passage = self._pool.hits[source.hit].passage
        return f"{passage.title} {passage.text}"
