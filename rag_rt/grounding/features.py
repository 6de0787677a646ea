"""What a probability of support is computed from: how the words of a claim meet the passages'.

Glossary: T tokens of a sentence, U tokens of all passages, H passages, S sentences of all passages.
Soft alignment (BERTScore, Zhang et al. 2020): each token of a claim is worth its largest cosine to
any token of the passages. A token's rarity is the logarithm of its place in the vocabulary, which
WordPiece orders by frequency; its inverse document frequency (Spärck Jones 1972) is counted in
Wikipedia by `benchmarks/token_frequencies.py`.

The features "worst_..." are means over the tokens of a claim, in which a token weighs by the
exponential of how badly it is aligned (soft attention): what they say is said of the worst words.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rag_rt.grounding.checks import Mismatches, spelled_numbers
from rag_rt.grounding.claims import claim_spans
from rag_rt.grounding.passages import ReadPassages, beyond, ngrams
from rag_rt.words import all_stems, content_words
from retriever.encoders import Encoder, TokenVectors, Vectors
from retriever.sentences import Span, sentence_spans

Floats = npt.NDArray[np.float64]

NAMES = (
    "trigrams",  # share of the claim's trigrams that a passage holds
    "bigram_gap",  # log of the longest run of words that no shared bigram covers
    "weakest_clause",  # least share of content words of a clause that the passages hold
    "beyond_question",  # best cosine to a passage sentence, what the question says taken out
    "aligned_words",  # embeddings: alignment with the best passage, weighted by rarity
    "weakest_tenth",  # middle layer: mean alignment of the worst tenth of the tokens
    "weakest_fifth",  # last layer: of the worst fifth
    "worst_embedding",  # embeddings: alignment of the worst words
    "worst_last",  # last layer: likewise
    "worst_frequency",  # their inverse document frequency
    "worst_asked",  # the share of them that the question has
    "said_before",  # best cosine to an earlier sentence of the answer
    "missing_numbers",  # numbers that no passage holds, at most three
    # What the checks found, by the cube of "trigrams": it tells most where the claim is otherwise
    # a copy, while in a paraphrase a name that no quote holds is often "the president" there.
    "number_mismatch",
    "name_mismatch",
    "negation_mismatch",
)

_TOGETHER = 900  # characters read together: about 200 of the encoder's 256 tokens
_BEFORE = 600  # characters of the answer so far, where the sentence leaves room for them
_QUESTION = 300  # characters of the question
_LONGEST = 2000  # characters of a sentence: more than is read
_COMMONEST = 990  # BERT's vocabulary begins with letters and unused places
# How much a token weighs among the worst, as coefficients of its alignments and of whether the
# question has it: rounded from attention that was fitted together with the model. AUC is flat from
# -0.5 to -2 for the first two and from -8 to -10 for the last layer.
_ATTENTION = (-1.0, -1.0, -8.0)
_ASKED = 1.0
_EARLIER = 8  # sentences of the answer so far that are compared
_KEPT = 32  # vectors of texts: those sentences with their claims


FREQUENCIES = Path(__file__).with_name("frequencies.npz")


@cache
def inverse_document_frequencies() -> Floats:
    """(V,) by the number of the token, of the starter encoder's vocabulary."""
    with np.load(FREQUENCIES) as stored:
        return np.asarray(stored["inverse"], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Reading:
    """A sentence of an answer, read after the question and the answer so far.

    `starts` (T,) are offsets into the answer, `rarity` and `frequency` (the inverse one) (T,),
    `asked` (T,): the question has the token; `alignments` three times (T, H).
    """

    starts: npt.NDArray[np.int64]
    rarity: Floats
    frequency: Floats
    asked: npt.NDArray[np.bool_]
    alignments: tuple[Vectors, Vectors, Vectors]
    earlier: Vectors
    """(E, D) of the sentences before it."""

    def rows(self, span: Span) -> npt.NDArray[np.intp]:
        """The tokens of a claim; all of them where the encoder did not read so far."""
        inside = np.flatnonzero((self.starts >= span[0]) & (self.starts < span[1]))
        return inside if len(inside) else np.arange(len(self.starts))


class FeatureMaker:
    """Measures the claims of one answer against its passages."""

    def __init__(self, passages: ReadPassages, encoder: Encoder) -> None:
        self._passages = passages
        self._encoder = encoder
        self._vectors: dict[str, Vectors] = {}

    def vectors(self, texts: list[str]) -> Vectors:
        """Unit vectors (N, D); those of the last few texts are kept."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if missing:
            new = zip(missing, self._encoder.encode(missing), strict=True)
            kept = {text: self._vectors[text] for text in texts if text in self._vectors}
            recent = dict(list(self._vectors.items())[-_KEPT:])
            self._vectors = {**recent, **kept, **dict(new)}
        return np.stack([self._vectors[text] for text in texts])

    def read(self, answer: str, start: int, end: int) -> Reading | None:
        """Read the sentence `answer[start:end]`; nothing behind it is looked at.

        None where the encoder finds no token in it.
        """
        end = min(end, start + _LONGEST)
        question = self._passages.pool.question[:_QUESTION]
        room = min(_BEFORE, max(0, _TOGETHER - len(question) - (end - start)))
        prefix = f"{question} {answer[max(0, start - room) : start]}"
        (tokens,) = self._encoder.encode_tokens([prefix + answer[start:end]])
        kept = tokens.starts >= len(prefix)
        if not kept.any():
            prefix = ""
            (tokens,) = self._encoder.encode_tokens([answer[start:end]])
            kept = tokens.starts >= 0
        if not kept.any():
            return None
        ids = tokens.ids[kept]
        asked = tokens.ids[tokens.starts < len(question)] if prefix else ids[:0]
        spans = sentence_spans(answer[:start])[-_EARLIER:]
        earlier = [answer[a:b][:_LONGEST] for a, b in spans]
        return Reading(
            starts=tokens.starts[kept] - len(prefix) + start,
            rarity=np.log(np.maximum(ids, _COMMONEST + 10) - _COMMONEST),
            frequency=inverse_document_frequencies().take(ids, mode="clip"),
            asked=np.isin(ids, asked),
            alignments=self._align(tokens, kept),
            earlier=self.vectors(earlier) if earlier else np.empty((0, 0), np.float32),
        )

    def _align(
        self, tokens: TokenVectors, kept: npt.NDArray[np.bool_]
    ) -> tuple[Vectors, Vectors, Vectors]:
        passages = self._passages
        first, middle, last = (
            np.maximum.reduceat(mine[kept] @ theirs.T, passages.first_tokens, axis=1)  # (T, H)
            for mine, theirs in zip(tokens.layers, passages.layers, strict=True)
        )
        return first, middle, last

    def features(self, answer: str, span: Span, reading: Reading, wrong: Mismatches) -> Floats:
        """The features `NAMES` (F,) of the claim `answer[span]`.

        Args:
            answer: the text so far.
            span: of the claim.
            reading: of the sentence that it is in.
            wrong: what its evidence does not hold.
        """
        text = answer[slice(*span)][:_LONGEST]
        vector = self.vectors([text])
        trigrams = self._trigrams(all_stems(text))
        rows = reading.rows(span)
        first, middle, last = (layer[rows] for layer in reading.alignments)
        rarity = reading.rarity[rows]
        remainder = beyond(vector, self._passages.pool.question_vector)
        values = (
            trigrams,
            self._bigram_gap(all_stems(text)),
            min(self._held(text[a:b]) for a, b in claim_spans(text, 0, len(text))),
            (self._passages.beyond_question @ remainder[0]).max(),
            ((first * rarity[:, None]).sum(0) / rarity.sum()).max(),
            _weakest(middle.max(1), 10),
            _weakest(last.max(1), 5),
            *self._worst(reading, rows),
            (reading.earlier @ vector[0]).max() if len(reading.earlier) else 0.0,
            min(3, len(spelled_numbers(text) - self._passages.numbers)),
            bool(wrong.numbers) * trigrams**3,
            bool(wrong.names) * trigrams**3,
            bool(wrong.negated) * trigrams**3,
        )
        return np.array(values, dtype=np.float64)

    def _worst(self, reading: Reading, rows: npt.NDArray[np.intp]) -> Floats:
        """The four "worst_..." features of the tokens `rows`."""
        best = np.stack([layer[rows].max(1) for layer in reading.alignments])  # (3, T)
        asked, frequency = reading.asked[rows], reading.frequency[rows]
        logits = np.array(_ATTENTION) @ best + _ASKED * asked  # (T,)
        weights = np.exp(logits - logits.max())
        measured = np.stack([best[0], best[2], frequency, asked]) @ weights
        means: Floats = measured / weights.sum()
        return means

    def _trigrams(self, words: list[str]) -> float:
        found = set(ngrams(words, 3))
        return len(found & self._passages.trigrams) / max(1, len(found))

    def _bigram_gap(self, words: list[str]) -> float:
        covered = np.zeros(len(words) + 1, dtype=bool)
        for place, bigram in enumerate(ngrams(words, 2)):
            if bigram in self._passages.bigrams:
                covered[place : place + 2] = True
        covered[-1] = True  # a run also ends with the claim
        ends = np.flatnonzero(covered)
        return float(np.log1p(np.diff(ends, prepend=-1).max() - 1))

    def _held(self, text: str) -> float:
        words = content_words(text)
        return len(words & self._passages.words) / len(words) if words else 1.0


def _weakest(alignment: Vectors, part: int) -> float:
    return float(np.sort(alignment)[: max(1, len(alignment) // part)].mean())
