"""The support of the sentences of one answer: what they claim, on what, and how likely."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from rag_rt.answers import Claim, Evidence, Sentence, Support
from rag_rt.evidence import EvidencePool
from rag_rt.grounding.checks import Mismatches, mismatches
from rag_rt.grounding.claims import claim_spans
from rag_rt.grounding.features import NAMES, FeatureMaker, Floats, Reading
from rag_rt.grounding.passages import ReadPassages
from rag_rt.grounding.selection import choose, quotes, surroundings
from rag_rt.logistic import LogisticModel
from rag_rt.words import all_stems
from retriever.encoders import Encoder
from retriever.sentences import Span

SUPPORT_MODEL = Path(__file__).with_name("support.json")
THRESHOLD = 0.65  # of a supported sentence: see benchmarks/grounding_support.py
PARTLY = 0.35  # likewise, of one that is supported in part


@dataclass(frozen=True, slots=True)
class Assessed:
    """A claim, the passage sentences that are nearest to it, and what they lack of it."""

    text: str
    span: Span
    evidence: tuple[Evidence, ...]
    premise: str
    """The quotes with what they speak of: titles and the sentences before them."""
    wrong: Mismatches
    features: Floats


class Entailment(Protocol):
    """What gives claims their probability of support."""

    @property
    def name(self) -> str:
        """What the settings call it."""
        ...

    def probabilities(self, claims: Sequence[Assessed]) -> Floats:
        """One probability for each claim."""
        ...


class Alignment:
    """The default: the logistic model over how words and vectors of claim and passages meet."""

    name = "starter"

    def __init__(self, model: LogisticModel | None = None) -> None:
        self._model = model or LogisticModel.load(SUPPORT_MODEL, NAMES)

    def probabilities(self, claims: Sequence[Assessed]) -> Floats:
        """By the features alone."""
        return self._model.probabilities(np.stack([claim.features for claim in claims]))


class Grounder:
    """Finds the support of sentences in one pool of evidence."""

    def __init__(
        self, pool: EvidencePool, encoder: Encoder, entailment: Entailment | None = None
    ) -> None:
        self._passages = ReadPassages(pool, encoder)
        self._features = FeatureMaker(self._passages, encoder)
        self._entailment = entailment or Alignment()

    def ground(self, answer: str, start: int, end: int) -> Sentence:
        """The support of the sentence `answer[start:end]`; nothing behind it is looked at.

        Where it makes several claims, each has its own; one that is less than supported makes the
        sentence partly supported at most. An unsupported sentence carries no evidence. A sentence
        that is, character for character, one of a passage is a quotation of it.
        """
        assessed = self.assess(answer, start, end)
        if not assessed:
            return Sentence(start, end, Support.UNSUPPORTED, (), 0.0)
        chances = self._entailment.probabilities(assessed)
        whole, *parts = (_claim(*pair) for pair in zip(assessed, chances.tolist(), strict=True))
        support = whole.support
        if support is Support.SUPPORTED and any(p.support is not support for p in parts):
            support = Support.PARTLY
        quotation = [e.quote for e in whole.evidence[:1]] == [answer[start:end]]
        return Sentence(
            start, end, support, whole.evidence, whole.probability, tuple(parts), quotation
        )

    def assess(self, answer: str, start: int, end: int) -> list[Assessed]:
        """The whole sentence, then its claims where there are several; empty without words."""
        if not self._passages or not all_stems(answer[start:end]):
            return []
        reading = self._features.read(answer, start, end)
        if reading is None:
            return []
        parts = claim_spans(answer, start, end)
        spans = [(start, end), *(parts if len(parts) > 1 else [])]
        self._features.vectors([answer[slice(*span)] for span in spans])  # in one batch
        return [self._assess(answer, span, reading) for span in spans]

    def _assess(self, answer: str, span: Span, reading: Reading) -> Assessed:
        text = answer[slice(*span)]
        chosen = choose(text, self._features.vectors([text])[0], self._passages)
        evidence = quotes(chosen, self._passages)
        premise = surroundings(chosen, self._passages)
        wrong = mismatches(text, premise, evidence[0].quote)
        features = self._features.features(answer, span, reading, wrong)
        return Assessed(text, span, evidence, premise, wrong, features)


def _claim(assessed: Assessed, probability: float) -> Claim:
    if probability < PARTLY:
        return Claim(*assessed.span, Support.UNSUPPORTED, (), probability)
    sure = probability >= THRESHOLD and not assessed.wrong
    support = Support.SUPPORTED if sure else Support.PARTLY
    return Claim(*assessed.span, support, assessed.evidence, probability)
