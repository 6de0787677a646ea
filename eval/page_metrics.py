"""Official page-level retrieval figures: R-precision, the rank of evidence sets, words in context.

Source: `kilt/eval_retrieval.py` of facebookresearch/KILT at 2664322. Where the official code leaves
an integer 0, so does this one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from eval.interpretation import Passage


def r_precision(pages: Sequence[str], gold_pages: Iterable[Sequence[str]]) -> float:
    """The best share, over the gold outputs, of its R pages that are among the first R guessed."""
    return max(
        len(set(pages[: len(golds)]).intersection(golds)) / len(golds) if golds else 0
        for golds in gold_pages
    )


@dataclass(frozen=True, slots=True)
class EvidenceRank:
    """The guessed pages as points: True where a point completes an evidence set.

    A set stands where its last page stands, and takes one point there; a page that completes two
    sets takes two, and a page of no set one. Without guessed pages there are no points and no sets.
    """

    complete: tuple[bool, ...]
    set_count: int

    def precision(self, k: int) -> float:
        """Complete sets among the first k points, by k."""
        return sum(self.complete[:k]) / k if self.set_count else 0

    def recall(self, k: int) -> float:
        """Complete sets among the first k points, by the number of sets."""
        return sum(self.complete[:k]) / self.set_count if self.set_count else 0

    def success(self, k: int) -> int:
        """1 if a set is complete among the first k points."""
        return int(any(self.complete[:k]))


def evidence_rank(pages: Sequence[str], evidence_sets: Sequence[frozenset[str]]) -> EvidenceRank:
    """Rank the evidence sets by the place of their last page; each page is in `pages` once."""
    if not pages:
        return EvidenceRank((), 0)
    open_sets = [set(evidence) for evidence in evidence_sets]
    points: list[tuple[int, bool]] = []
    for page in pages:
        holders = [index for index, evidence in enumerate(open_sets) if page in evidence]
        for index in holders:
            open_sets[index].remove(page)
            # The set has moved here: its earlier, incomplete point goes.
            points = [point for point in points if point != (index, False)]
            points.append((index, not open_sets[index]))
        if not holders:
            points.append((-1, False))
    return EvidenceRank(tuple(complete for _, complete in points), len(evidence_sets))


@dataclass(frozen=True, slots=True)
class ContextDepths:
    """How many passages must be read to meet a gold answer, a gold title, or both in one passage.

    None where the passages read never hold it.
    """

    answer: int | None = None
    title: int | None = None
    both: int | None = None


class PassageTextNotString(ValueError):
    """A passage's `text` is no string, and the official program would come to read it."""


def context_depths(
    passages: Sequence[Passage],
    answers: Iterable[str],
    titles: Iterable[str],
    normalised: Callable[[str], str],
) -> ContextDepths:
    """Look for normalised answers and titles as substrings of the normalised passages.

    Raises:
        PassageTextNotString: at a `text` of another type, before a passage with both was met.
    """
    wanted_answers = [normalised(answer) for answer in answers]
    wanted_titles = [normalised(title) for title in titles]
    answer_at = title_at = None
    for depth, passage in enumerate(passages, 1):
        if "text" not in passage:
            continue
        if not isinstance(passage["text"], str):
            raise PassageTextNotString(f"provenance entry {depth}")
        text = normalised(passage["text"])
        has_answer = any(answer in text for answer in wanted_answers)
        has_title = any(title in text for title in wanted_titles)
        if has_answer and answer_at is None:
            answer_at = depth
        if has_title and title_at is None:
            title_at = depth
        if has_answer and has_title:
            return ContextDepths(answer_at, title_at, depth)
    return ContextDepths(answer_at, title_at)
