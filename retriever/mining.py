"""Hard negatives: passages that the index finds for a question and that are not of its pages."""

from collections.abc import Sequence
from dataclasses import replace

from retriever.encoders import Progress
from retriever.errors import SourceError
from retriever.passages import MAX_PASSAGES, Hit
from retriever.searching import Searcher
from retriever.training_data import Example, Text

QUESTIONS_AT_ONCE = 256  # searched together; bounds what is held


def mine_negatives(
    examples: Sequence[Example],
    searcher: Searcher,
    progress: Progress = lambda done, total: None,
) -> list[Example]:
    """The examples with the best hits on other pages added to their negatives, best first.

    Of an example whose pages are unknown nothing is mined: any hit might answer it.

    Raises:
        SourceError: no example tells its pages.
    """
    known = [row for row, example in enumerate(examples) if example.pages]
    if not known:
        raise SourceError(
            "negatives cannot be mined, since no record tells the pages that answer it, and any "
            "passage found might; add provenance with 'wikipedia_id' or 'title', a 'title' to "
            "each 'positive', or leave out --index"
        )
    mined = list(examples)
    for first in range(0, len(known), QUESTIONS_AT_ONCE):
        rows = known[first : first + QUESTIONS_AT_ONCE]
        found = searcher.search_batch([examples[row].question for row in rows], MAX_PASSAGES)
        for row, hits in zip(rows, found, strict=True):
            mined[row] = _with_negatives(examples[row], hits)
        progress(first + len(rows), len(known))
    return mined


def _with_negatives(example: Example, hits: Sequence[Hit]) -> Example:
    positives = {positive.text for positive in example.positives}
    found = (
        Text(hit.passage.title, hit.passage.text)
        for hit in hits
        if example.pages.isdisjoint({hit.passage.page_id, hit.passage.title})
        and hit.passage.text not in positives
    )
    return replace(example, negatives=tuple(dict.fromkeys((*example.negatives, *found))))
