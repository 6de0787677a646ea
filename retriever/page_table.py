"""Which rows of a store hold the passages of a page: a table that is searched where it lies.

One entry a page, sorted by a 64-bit digest of the page's id: the digest, the first row and the
number of rows, 24 bytes. An id is looked up by halving, so that nothing is read but a few entries;
two ids with one digest are told apart by the caller, who has the ids themselves.
"""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retriever.artefacts import atomic_save

_ENTRY = np.dtype([("digest", "<u8"), ("first", "<i8"), ("count", "<i8")])


class PageTable:
    """A table that was written by `write`."""

    def __init__(self, path: Path) -> None:
        self._entries: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        self._digests = self._entries["digest"]

    def __len__(self) -> int:
        return len(self._entries)

    def candidates(self, page_id: str) -> Iterator[range]:
        """The rows of each page whose id has this id's digest: most often one page, or none."""
        digest = _digest(page_id)
        place = int(np.searchsorted(self._digests, digest))
        while place < len(self) and self._digests[place] == digest:
            first, count = int(self._entries[place]["first"]), int(self._entries[place]["count"])
            yield range(first, first + count)
            place += 1

    @staticmethod
    def write(page_ids: Iterator[str], path: Path) -> int:
        """Write the table of a store whose rows have these page ids; returns the number of pages.

        The passages of a page stand together. Memory: 24 bytes a page.
        """
        entries = np.fromiter(_runs(page_ids), dtype=_ENTRY)
        entries.sort(order=("digest", "first"))
        atomic_save(path, entries)
        return len(entries)


def _runs(page_ids: Iterator[str]) -> Iterator[tuple[np.uint64, int, int]]:
    current, first, row = None, 0, -1
    for row, page_id in enumerate(page_ids):
        if page_id != current:
            if current is not None:
                yield _digest(current), first, row - first
            current, first = page_id, row
    if current is not None:
        yield _digest(current), first, row + 1 - first


def _digest(page_id: str) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(page_id.encode(), digest_size=8).digest(), "little"))
