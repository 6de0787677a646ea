"""The official KILT figures of a guess file, and those of every record in it.

`Scorer` streams what `kilt/eval_downstream.py` computes (facebookresearch/KILT at 2664322), and
`score_files` drains it. Sums run from left to right in gold order, from the integer or float that
the official ones start from, so that figures are equal to the last bit, and of equal type where
there is no record. `eval.retrieval_scoring` is the same for `kilt/eval_retrieval.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.answer_metrics import exact_match_and_f1
from eval.errors import BadGold
from eval.interpretation import Gold, Guess, read_gold, read_guess
from eval.page_metrics import evidence_rank, r_precision
from eval.records import AlignedFiles, Record
from eval.remarks import Remarks
from eval.retrieval_scoring import read_context
from eval.rouge_l import RougeText, kills_official_scorer, max_rouge_l

DOWNSTREAM = ("accuracy", "em", "f1", "rougel")
KILT = tuple(f"KILT-{name}" for name in DOWNSTREAM)
RETRIEVAL = ("Rprec", "recall@5")
OFFICIAL_METRICS = (*DOWNSTREAM, *KILT, *RETRIEVAL)

# The official program reads the text of this many passages for figures that it then drops.
_DOWNSTREAM_DEPTH = 5


@dataclass(frozen=True, slots=True)
class RecordScore:
    """The official figures of one record; `kilt_counted` says that they enter the KILT figures.

    `id` is as the gold file writes it. `kills_official`: the official scorer would die of the
    record (RecursionError), and the figures are what it would compute without that limit.
    """

    id: Any
    empty_guess: bool
    n_gold_answers: int
    accuracy: int
    em: int
    f1: float
    rougel: float
    rprec: float
    kilt_counted: bool
    recall_at_5: float
    success_rate_at_5: int
    precision_at_1: float
    precision_at_5: float
    kills_official: bool

    def as_json(self) -> dict[str, Any]:
        """The figures, under their official names."""
        names = (name for name in self.__slots__ if name != "kills_official")
        return {name.replace("_at_", "@"): getattr(self, name) for name in names}

    def official(self) -> tuple[float, ...]:
        """What the record adds to each of `OFFICIAL_METRICS`, in their order."""
        downstream = (self.accuracy, self.em, self.f1, self.rougel)
        kilt = downstream if self.kilt_counted else (0, 0, 0, 0)
        return (*downstream, *kilt, self.rprec, self.recall_at_5)


@dataclass(frozen=True, slots=True)
class ScoredRecord:
    """The figures of one record, and what they were computed from."""

    score: RecordScore
    guess: Guess
    gold: Gold


def score_record(record_id: Any, guess: Guess, gold: Gold) -> RecordScore:
    """Score one guess against its gold record.

    Raises:
        ValueError: the guess has an answer and the gold record has none.
    """
    accuracy = match = 0
    f1: float = 0
    rougel: float = 0
    deadly = False
    if guess.answer:
        accuracy = int(guess.answer in gold.answers)
        match, f1 = exact_match_and_f1(guess.answer, gold.answers)
        text, golds = RougeText(guess.answer), [RougeText(answer) for answer in gold.answers]
        rougel = max_rouge_l(text, golds)
        deadly = kills_official_scorer(text, golds)
    rprec = r_precision(guess.ranking.pages, gold.pages)
    rank = evidence_rank(guess.ranking.pages, gold.evidence_sets)
    return RecordScore(
        id=record_id,
        empty_guess=not guess.answer,
        n_gold_answers=len(gold.answers),
        accuracy=accuracy,
        em=match,
        f1=f1,
        rougel=rougel,
        rprec=rprec,
        kilt_counted=bool(guess.answer) and rprec == 1,
        recall_at_5=rank.recall(5),
        success_rate_at_5=rank.success(5),
        precision_at_1=rank.precision(1),
        precision_at_5=rank.precision(5),
        kills_official=deadly,
    )


class Scorer:
    """Two joined files, scored record by record; the totals are right once all were given."""

    def __init__(self, files: AlignedFiles, *, strict: bool = False) -> None:
        """Start at zero; `strict` refuses what the official scorer overlooks.

        Raises:
            StrictRefusal: `strict`, and there is a guess that no gold record has.
        """
        self.remarks = Remarks(strict=strict)
        self.remarks.see_extra(files.extra_guesses())
        self.counts = {"records": 0, "empty_guesses": 0, "kilt_counted": 0}
        self._sums: list[float] = [0] * len((*DOWNSTREAM, *KILT)) + [0.0] * len(RETRIEVAL)
        self._files = files

    def __iter__(self) -> Iterator[ScoredRecord]:
        """Score the records in gold order; meant to be done once.

        Raises:
            UnreadableFile: a file can no longer be read.
            BadRecord: the official scorer would refuse a record, or `strict` does.
        """
        for guess_record, gold_record in self._files:
            guess, gold = read_guess(guess_record), read_gold(gold_record)
            _check_pair(guess_record, gold_record, guess, gold)
            self.remarks.see(guess_record, gold_record)
            score = score_record(gold_record.data["id"], guess, gold)
            self._add(score)
            yield ScoredRecord(score, guess, gold)

    def official(self) -> dict[str, dict[str, float]]:
        """The dictionary of the official scorer: every figure a mean over the gold records."""
        count = self.counts["records"]
        means = {
            name: total / count if count else total
            for name, total in zip(OFFICIAL_METRICS, self._sums, strict=True)
        }
        sections = {"downstream": DOWNSTREAM, "kilt": KILT, "retrieval": RETRIEVAL}
        return {
            section: {name: means[name] for name in names} for section, names in sections.items()
        }

    def _add(self, score: RecordScore) -> None:
        self._sums = [a + b for a, b in zip(self._sums, score.official(), strict=True)]
        self.counts["records"] += 1
        self.counts["empty_guesses"] += score.empty_guess
        self.counts["kilt_counted"] += score.kilt_counted
        if score.kills_official:
            self.remarks.deadly_ids.append(score.id)


def score_files(
    guess_path: Path, gold_path: Path, *, strict: bool = False
) -> dict[str, dict[str, float]]:
    """The dictionary that the official `eval_downstream` returns for two files.

    Raises:
        UnreadableFile: a file cannot be opened or read.
        BadRecord: the official scorer would refuse the files, or `strict` does.
    """
    with AlignedFiles(guess_path, gold_path) as files:
        scorer = Scorer(files, strict=strict)
        for _ in scorer:
            pass
        return scorer.official()


def _check_pair(guess_record: Record, gold_record: Record, guess: Guess, gold: Gold) -> None:
    """Refuse what `eval_downstream` dies of only when it has both records in hand."""
    if guess.answer and not gold.answers:
        problem = "no output has an answer to score the guess against"
        remedy = "add a gold answer, or leave the record out of both files"
        raise BadGold(gold_record.path, gold_record.line, gold_record.id, problem, remedy)
    passages = guess.ranking.passages[:_DOWNSTREAM_DEPTH]
    if any(not isinstance(passage.get("text", ""), str) for passage in passages):
        read_context(guess_record, guess.ranking, gold, _DOWNSTREAM_DEPTH)
