"""What a corpus holds and an index does not: counted and reported, never lost in silence."""

from collections import Counter
from collections.abc import Callable

from retriever.errors import SourceError


class Skipped:
    """Counts the records of a corpus that become no page.

    Malformed ones are reported and limited. Others are left out by design, such as a dump's
    redirects: they are counted by their kind.
    """

    def __init__(
        self, limit: int = 0, report: Callable[[str], None] = lambda message: None
    ) -> None:
        self.limit = limit
        self.malformed = 0
        self.left_out: Counter[str] = Counter()
        self._report = report

    def add(self, place: str, reason: str) -> None:
        """Count a malformed record and report it.

        Raises:
            SourceError: it is one more than the limit; the message names place, reason and limit.
        """
        self.malformed += 1
        if self.malformed > self.limit:
            raise SourceError(f"{place}: {reason}; {self._remedy()}")
        self._report(f"Skipped {place}: {reason}")

    def _remedy(self) -> str:
        if not self.limit:
            return (
                "repair or remove that record, or have up to N such records skipped and reported "
                "with '--max-malformed N'"
            )
        return (
            f"it is malformed record number {self.malformed:,}, and the limit is {self.limit:,}; "
            "repair the corpus, or raise the limit with '--max-malformed N'"
        )
