"""The figures of the official `kilt/eval_retrieval.py` (facebookresearch/KILT at 2664322).

It looks at pages and passages alone, and so takes guesses that `eval_downstream` refuses: without
an answer, or with several outputs of which one has provenance.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from eval.answer_metrics import normalised
from eval.errors import BadGuess
from eval.interpretation import Gold, Ranking, read_gold, read_ranking
from eval.page_metrics import (
    ContextDepths,
    PassageTextNotString,
    context_depths,
    evidence_rank,
    r_precision,
)
from eval.records import AlignedFiles, Record
from eval.remarks import Remarks

# The official program's default for `--ks`.
CUTOFFS = (1, 5, 10, 20)


class RetrievalScorer:
    """Two joined files, scored page by page; the totals are right once all records were given."""

    def __init__(
        self, files: AlignedFiles, *, cutoffs: Sequence[int] = CUTOFFS, strict: bool = False
    ) -> None:
        """Start at zero; `strict` refuses what the official program overlooks.

        Raises:
            StrictRefusal: `strict`, and there is a guess that no gold record has.
        """
        self.remarks = Remarks(strict=strict)
        self.remarks.see_extra(files.extra_guesses())
        self._cutoffs = sorted(cutoffs)
        self._sums = dict.fromkeys(_names(self._cutoffs), 0.0)
        self._files = files
        self._count = 0

    def __iter__(self) -> Iterator[dict[str, float]]:
        """Score the records in gold order; meant to be done once.

        Raises:
            UnreadableFile: a file can no longer be read.
            BadRecord: the official program would refuse a record, or `strict` does.
        """
        for guess_record, gold_record in self._files:
            ranking, gold = read_ranking(guess_record), read_gold(gold_record)
            depths = read_context(guess_record, ranking, gold, max(self._cutoffs))
            self.remarks.see(guess_record, gold_record)
            figures = dict(_figures(ranking, gold, depths, self._cutoffs))
            self._sums = {name: total + figures[name] for name, total in self._sums.items()}
            self._count += 1
            yield figures

    def official(self) -> dict[str, float]:
        """The dictionary of the official program: every figure a mean over the gold records."""
        return {name: total / max(1, self._count) for name, total in self._sums.items()}


def score_retrieval(
    guess_path: Path, gold_path: Path, cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, float]:
    """The dictionary that `eval_retrieval` returns for two files, by `wikipedia_id`.

    Raises:
        UnreadableFile: a file cannot be opened or read.
        BadRecord: the official program would refuse the files.
    """
    with AlignedFiles(guess_path, gold_path) as files:
        scorer = RetrievalScorer(files, cutoffs=cutoffs)
        for _ in scorer:
            pass
        return scorer.official()


def read_context(guess: Record, ranking: Ranking, gold: Gold, deepest: int) -> ContextDepths:
    """Look for the gold's answers and titles in the first `deepest` passages of a guess.

    Raises:
        BadGuess: a passage that is read on the way has a `text` that is no string.
    """
    passages = ranking.passages[:deepest]
    try:
        return context_depths(passages, gold.answers, gold.titles, normalised)
    except PassageTextNotString as error:
        problem = f"the 'text' of {error} is no string"
        remedy = "write the passage as a string, or leave 'text' out"
        raise BadGuess(guess.path, guess.line, guess.id, problem, remedy) from None


def _names(cutoffs: Sequence[int]) -> Iterator[str]:
    """The official names, in the official order."""
    yield from ("Rprec", "entity_in_input")
    for k in cutoffs:
        yield f"precision@{k}"
        yield from (f"answer_in_context@{k}", f"answer_and_ent_in_context@{k}")
        yield f"entity_in_context@{k}"
        if k > 1:
            yield from (f"recall@{k}", f"success_rate@{k}")


def _figures(
    ranking: Ranking, gold: Gold, depths: ContextDepths, cutoffs: Sequence[int]
) -> Iterator[tuple[str, float]]:
    """The figures of one record; recall and success also at 1, where the official ones stop."""
    rank = evidence_rank(ranking.pages, gold.evidence_sets)
    question = normalised(gold.question)
    yield "Rprec", r_precision(ranking.pages, gold.pages)
    yield "entity_in_input", int(any(normalised(title) in question for title in gold.titles))
    for k in cutoffs:
        yield f"precision@{k}", rank.precision(k)
        yield f"recall@{k}", rank.recall(k)
        yield f"success_rate@{k}", rank.success(k)
        yield f"answer_in_context@{k}", _within(depths.answer, k)
        yield f"answer_and_ent_in_context@{k}", _within(depths.both, k)
        yield f"entity_in_context@{k}", _within(depths.title, k)


def _within(depth: int | None, k: int) -> int:
    return int(depth is not None and depth <= k)
