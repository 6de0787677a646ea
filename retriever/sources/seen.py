"""The ids of all pages so far, in 8 bytes each."""

import hashlib

import numpy as np
from numpy.typing import NDArray

_RECENT = 1 << 12  # hashes held in a set, at ten times the memory, before they are sorted


class SeenIds:
    """A set of page ids that only grows, held as 64-bit hashes in a few sorted runs.

    Two of 36 million different ids share a hash with a probability of 4 in 100,000.
    """

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._runs: list[NDArray[np.uint64]] = []  # each at least twice as long as the next

    def add(self, page_id: str) -> bool:
        """Add an id; returns whether it is new."""
        digest = hashlib.blake2b(page_id.encode("utf-8", "surrogatepass"), digest_size=8)
        key = int.from_bytes(digest.digest(), "little")
        if key in self._recent or self._sorted(np.uint64(key)):
            return False
        self._recent.add(key)
        if len(self._recent) >= _RECENT:
            self._sort()
        return True

    def _sorted(self, key: np.uint64) -> bool:
        for run in self._runs:
            place = run.searchsorted(key)
            if place < len(run) and run[place] == key:
                return True
        return False

    def _sort(self) -> None:
        run = np.fromiter(self._recent, np.uint64, len(self._recent))
        self._recent.clear()
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.concatenate([run, self._runs.pop()])
        run.sort()
        self._runs.append(run)
