"""How many sentences of the answers do the passages support, by the project's own grounding?

Three ways, the first that a record allows: what was grounded when the answer was written; the
passages that it was written from; or passages retrieved now, for a guess file of any system.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from eval.golds import Question, derived_remark, read_questions
from eval.interpretation import read_guess
from eval.records import AlignedFiles
from eval.runs import Details, read_run
from eval.significance import LEVEL, RESAMPLES, Values, bootstrap_intervals, bootstrap_ratio
from rag_rt.answers import Sentence, Support
from rag_rt.evidence import EvidencePool
from rag_rt.grounding import THRESHOLD, Entailment, Grounder, open_entailment
from rag_rt.requests import Request
from rag_rt.retrieval import open_retriever
from rag_rt.settings import Settings
from retriever import Hit
from retriever.encoders import Encoder, Progress
from retriever.searching import Retriever
from retriever.sentences import sentence_spans


class Source(StrEnum):
    """Where the support of an answer's sentences is from."""

    RECORDED = "recorded when the answer was written"
    READ = "grounded now in the passages that the answer was written from"
    RETRIEVED = "grounded now in passages that were retrieved now"


@dataclass(frozen=True, slots=True)
class _Grounded:
    """The sentences of one answer, and where their support is from."""

    id: str
    sentences: tuple[Sentence, ...]
    source: Source

    @property
    def supported(self) -> int:
        return sum(sentence.support is Support.SUPPORTED for sentence in self.sentences)


class SupportFinder:
    """Grounds answers; models and index are opened when an answer first needs them."""

    def __init__(self, settings: Settings, index: Path | None) -> None:
        self._settings = settings
        self._index_directory = index or settings.index_directory

    def sentences(
        self, question: str, answer: str, details: Details | None
    ) -> tuple[tuple[Sentence, ...], Source]:
        """The sentences of an answer with their support, and where that is from.

        Raises:
            RetrieverError: there are no passages, and the index cannot be opened.
        """
        if details and details.sentences is not None:
            return details.sentences, Source.RECORDED
        if details and details.hits:
            return self._ground(question, answer, details.hits), Source.READ
        hits = self._retriever.search(question, Request.k)
        return self._ground(question, answer, hits), Source.RETRIEVED

    def _ground(self, question: str, answer: str, hits: Sequence[Hit]) -> tuple[Sentence, ...]:
        pool = EvidencePool.gather(question, hits, self._encoder)
        grounder = Grounder(pool, self._encoder, self._entailment)
        return tuple(grounder.ground(answer, *span) for span in sentence_spans(answer))

    @cached_property
    def _retriever(self) -> Retriever:
        return open_retriever(self._settings.model_copy(update={"index": self._index_directory}))

    @cached_property
    def _entailment(self) -> Entailment:
        return open_entailment(self._settings.entailment)

    @cached_property
    def _encoder(self) -> Encoder:
        """The one whose cosines the threshold of grounding is of: an encoder of sentences."""
        return Encoder("starter")


def support_report(
    guess: Path, gold: Path, finder: SupportFinder, *, seed: int, progress: Progress
) -> dict[str, Any]:
    """Everything that `ground` prints.

    Raises:
        EvalError: a file is refused.
        RetrieverError: passages must be retrieved, and the index cannot be opened.
    """
    questions = read_questions(gold)
    answers = _ground_all(guess, gold, questions, finder, progress)
    table: Values = np.array([(a.supported, len(a.sentences)) for a in answers], dtype=np.float64)
    supported, sentences = table.reshape(-1, 2).T
    written = sentences > 0
    shares = supported[written] / sentences[written]
    return {
        "supported": {
            "sentences": int(supported.sum()),
            "of": int(sentences.sum()),
            "share": _ratio(float(supported.sum()), float(sentences.sum())),
            "interval": bootstrap_ratio(supported, sentences, seed),
        },
        "answers": {
            "records": len(answers),
            "with_sentences": int(written.sum()),
            "mean_share": _ratio(float(shares.sum()), len(shares)),
            "interval": bootstrap_intervals(shares[:, None], seed)[0],
            "wholly_supported": int((shares == 1).sum()),
            "unsupported": int((shares == 0).sum()),
        },
        "support_from": dict(Counter(str(answer.source) for answer in answers)),
        "threshold": THRESHOLD,
        "per_record": [
            {"id": answer.id, "supported": answer.supported, "sentences": len(answer.sentences)}
            for answer in answers
        ],
        "intervals": {"level": LEVEL, "resamples": RESAMPLES, "seed": seed},
        **derived_remark(questions),
        "files": {"guess": str(guess), "gold": str(gold)},
    }


def _ground_all(
    guess: Path,
    gold: Path,
    questions: Sequence[Question],
    finder: SupportFinder,
    progress: Progress,
) -> list[_Grounded]:
    run = read_run(guess)
    grounded: list[_Grounded] = []
    with AlignedFiles(guess, gold) as files:
        for (record, _), question in zip(files, questions, strict=True):
            answer = read_guess(record).answer
            found = finder.sentences(question.text, answer, run.details.get(question.id))
            grounded.append(_Grounded(question.id, *found))
            progress(len(grounded), len(questions))
    return grounded


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
