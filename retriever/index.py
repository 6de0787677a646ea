"""The index: a base, the updates since, and a manifest that says what made them.

The base is written once and never changed; an update is a folder of its own, which appears under
`updates` when it is whole. So a search sees a snapshot, and needs no lock. Rows count through the
base and then through the updates, in order.
"""

import logging
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retriever.artefacts import Manifest, read_manifest, verify_bytes
from retriever.errors import ArtefactDamaged, ArtefactError, ArtefactMismatch
from retriever.index_files import (
    KIND,
    REMEDY,
    UPDATE_KIND,
    VERSION,
    index_state,
    update_directory,
    update_numbers,
)
from retriever.parts import Part
from retriever.passages import Passage
from retriever.searchable import SearchableSnapshot
from retriever.vectors import DualEncoder, Vectors

READ_WHOLE = 2**31  # bytes of an index that is compared with what was written when it is opened

Rows = npt.NDArray[np.int64]
Dead = npt.NDArray[np.bool_]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Update:
    """An acknowledged change: passages that came, and pages whose earlier passages went."""

    number: int
    digest: str
    part: Part | None
    deleted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The index as it is at a moment; nothing that happens later changes it."""

    directory: Path
    manifest: Manifest
    """Of the base."""
    base: Part
    updates: tuple[Update, ...]
    dead: Dead | None
    """Rows whose passages were deleted; None where none was."""
    dead_count: int
    page_count: int
    """Pages that the passages that can be found are from."""

    @property
    def version(self) -> str:
        """Changes with every change of what a search can find."""
        last = self.updates[-1].digest if self.updates else ""
        return f"{self.manifest.digest()[:16]}{last[:16]}"

    @property
    def parts(self) -> list[tuple[int, Part]]:
        """Each part with its first row."""
        placed, first = [(0, self.base)], len(self.base)
        for update in self.updates:
            if update.part is not None:
                placed.append((first, update.part))
                first += len(update.part)
        return placed

    def __len__(self) -> int:
        """Passages that can be found."""
        return self.row_count - self.dead_count

    @property
    def row_count(self) -> int:
        """All rows, those of deleted passages too."""
        first, last = self.parts[-1]
        return first + len(last)

    def alive(self, row: int) -> bool:
        """Whether the passage of a row can be found."""
        return self.dead is None or not self.dead[row]

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        """The `k` passages of greatest inner product with each query, best first.

        Args:
            queries: vectors (Q, D).
            k: at most this many; fewer where the index holds fewer passages.

        Returns:
            inner products (Q, K) and rows (Q, K).
        """
        if not (k := min(k, len(self))):
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        found = [
            (first, *part.vectors.search(queries, min(k, len(part)), self._dead(first, part)))
            for first, part in self.parts
        ]
        scores = np.concatenate([part_scores for _, part_scores, _ in found], axis=1)
        rows = np.concatenate([_moved(rows, first) for first, _, rows in found], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)

    def search_words(self, question: str, k: int) -> tuple[npt.NDArray[np.float32], Rows]:
        """The `k` passages that share most with the words of a question (BM25), best first.

        Returns:
            scores (K,) and rows (K,); fewer than `k` where fewer passages share a word.
        """
        found = [
            (first, *part.words.search(question, k, self._dead(first, part)))
            for first, part in self.parts
        ]
        scores = np.concatenate([part_scores for _, part_scores, _ in found])
        rows = np.concatenate([rows + first for first, _, rows in found])
        order = np.argsort(-scores, kind="stable")[:k]
        return scores[order], rows[order]

    def similarities(self, queries: Vectors, rows: Rows) -> Vectors:
        """Inner products (Q, K) of each query (Q, D) with the passages of its rows (Q, K)."""
        similarities = np.empty(rows.shape, dtype=np.float32)
        for first, part in self.parts:
            here = (rows >= first) & (rows < first + len(part))
            if here.any():
                products = part.vectors.similarities(queries, np.where(here, rows - first, 0))
                similarities[here] = products[here]
        return similarities

    def take(self, rows: Sequence[int]) -> list[Passage]:
        """The passages of these rows, in this order."""
        return [part.passages.rows(row, row + 1)[0] for part, row in self._places(rows)]

    def page_ids(self, rows: Sequence[int]) -> list[str]:
        """The pages that the passages of these rows are from, in this order."""
        return [part.passages.page_id(row) for part, row in self._places(rows)]

    def find(self, passage_id: str) -> Passage | None:
        """The passage of this id, None where there is none or it was deleted."""
        page_id, _, ordinal = passage_id.rpartition(":")
        for first, part in reversed(self.parts):
            rows = part.rows_of(page_id)
            if ordinal.isdecimal() and len(ordinal) < 10 and int(ordinal) < len(rows):
                row = rows[int(ordinal)]
                passage = part.passages.rows(row, row + 1)[0]
                if passage.id == passage_id and self.alive(first + row):
                    return passage
        return None

    def holds_page(self, page_id: str) -> bool:
        """Whether a passage of this page can be found."""
        return any(
            self.alive(first + part.rows_of(page_id)[0])
            for first, part in self.parts
            if part.rows_of(page_id)
        )

    def live_rows(self) -> Rows:
        """The rows of all passages that can be found, in order."""
        return np.arange(self.row_count) if self.dead is None else np.flatnonzero(~self.dead)

    def stored(self, rows: Rows) -> npt.NDArray[np.floating[Any]]:
        """The vectors (N, D) of rows, as they are stored."""
        dtypes = [part.stored.dtype for _, part in self.parts]
        vectors = np.empty((len(rows), self.base.vectors.dimension), np.result_type(*dtypes))
        for first, part in self.parts:
            here = (rows >= first) & (rows < first + len(part))
            vectors[here] = part.stored[rows[here] - first]
        return vectors

    def _places(self, rows: Sequence[int]) -> list[tuple[Part, int]]:
        """The part that holds each row, and which of the part's rows that is."""
        firsts, parts = zip(*self.parts, strict=True)
        places = [bisect_right(firsts, row) - 1 for row in rows]
        return [
            (parts[place], row - firsts[place]) for place, row in zip(places, rows, strict=True)
        ]

    def _dead(self, first: int, part: Part) -> Dead | None:
        if self.dead is None:
            return None
        dead = self.dead[first : first + len(part)]
        return dead if dead.any() else None


def _moved(rows: Rows, first: int) -> Rows:
    return np.where(rows < 0, rows, rows + first)


class Index:
    """An index that was checked when it was opened, and follows what others write to it."""

    def __init__(self, directory: Path) -> None:
        """Open an index.

        Every byte is compared with what was written where that takes a second or two; beyond
        `READ_WHOLE` bytes, the sizes alone (`verify` reads everything). An index that searches
        something smaller than the exact vectors must find again what it found when it was built.

        Raises:
            ArtefactError: it is missing, unfinished or damaged; the message names what mends it.
        """
        self.directory = directory
        self._lock = threading.Lock()
        self._state = index_state(directory)
        self._snapshot = open_snapshot(directory)

    def current(self) -> Snapshot:
        """The index as it is now.

        Where it has changed and cannot be read, or is by another encoder now, it stays as it was,
        and the log says why.
        """
        state = index_state(self.directory)
        if state != self._state:
            with self._lock:
                if state != self._state:
                    self._refresh()
                    self._state = state
        return self._snapshot

    @property
    def manifest(self) -> Manifest:
        """Of the base."""
        return self._snapshot.manifest

    def _refresh(self) -> None:
        try:
            new = open_snapshot(self.directory, self._snapshot)
            if _encoder(new) != _encoder(self._snapshot):
                raise ArtefactMismatch(f"{self.directory} now holds an index by another encoder")
        except (ArtefactError, OSError) as error:
            logger.warning("the index stays as it was opened: %s", error)
        else:
            self._snapshot = new


def require_encoder(snapshot: SearchableSnapshot, encoder: DualEncoder) -> None:
    """Refuse an encoder whose vectors cannot be compared with those of the index.

    Raises:
        ArtefactMismatch: the index was built with another encoder.
    """
    settings = snapshot.manifest.settings
    if settings["encoder_fingerprint"] != encoder.fingerprint:
        raise ArtefactMismatch(
            f"the index at {snapshot.directory} was built with the encoder "
            f"{settings['encoder']} ({settings['dimension']}-d), but the settings name "
            f"{encoder.name} ({encoder.dimension}-d); set RAG_RT_ENCODER to the former (in int8 an "
            f"encoder is another: RAG_RT_ENCODER_PRECISION), or make the index anew with {REMEDY}"
        )


def open_snapshot(directory: Path, earlier: Snapshot | None = None) -> Snapshot:
    """Read an index as it is now.

    Args:
        directory: the index.
        earlier: an older snapshot, whose open parts are used again.

    Raises:
        ArtefactError: it is missing, unfinished or damaged.
    """
    while True:
        state = index_state(directory)
        try:
            snapshot = _open(directory, earlier)
        except (ArtefactError, OSError):
            if index_state(directory) == state:
                raise  # it is so, and was not only caught while it changed
        else:
            if index_state(directory) == state:
                return snapshot


def verify(directory: Path, progress: Callable[[str], None] = lambda name: None) -> Snapshot:
    """Open an index and compare every byte of it with what was written.

    Args:
        directory: the index.
        progress: told which file is read.

    Raises:
        ArtefactError: it is missing, unfinished or damaged.
    """
    snapshot = open_snapshot(directory)
    for name in snapshot.manifest.files:
        progress(name)
    verify_bytes(directory, snapshot.manifest, remedy=REMEDY)
    return snapshot


def _encoder(snapshot: Snapshot) -> object:
    return snapshot.manifest.settings["encoder_fingerprint"]


def _open(directory: Path, earlier: Snapshot | None) -> Snapshot:
    manifest = read_manifest(directory, kind=KIND, version=VERSION, remedy=REMEDY)
    if earlier is not None and earlier.manifest.digest() == manifest.digest():
        base = earlier.base
    else:
        base, earlier = _open_base(directory, manifest), None
    updates = _open_updates(directory, manifest, earlier)
    dead, page_count = _deleted(base, updates)
    dead_count = 0 if dead is None else int(dead.sum())
    return Snapshot(directory, manifest, base, updates, dead, dead_count, page_count)


def _open_base(directory: Path, manifest: Manifest) -> Part:
    if sum(file["bytes"] for file in manifest.files.values()) <= READ_WHOLE:
        verify_bytes(directory, manifest, remedy=REMEDY)
    base = Part(directory / manifest.settings["generation"], manifest.settings["nearest"])
    expected = manifest.counts["passages"]
    if not len(base) == len(base.vectors) == expected:
        raise ArtefactDamaged(
            f"the index at {directory} holds {len(base):,} passages and "
            f"{len(base.vectors):,} vectors instead of {expected:,}; make it anew with {REMEDY}"
        )
    recall, found = manifest.settings["nearest"].get("recall", 1.0), base.vectors.check()
    if found < recall:
        raise ArtefactDamaged(
            f"the index at {directory} finds {found:.1%} of the nearest passages of its sample, "
            f"but found {recall:.1%} when it was built; make it anew with {REMEDY}"
        )
    return base


def _open_updates(
    directory: Path, manifest: Manifest, earlier: Snapshot | None
) -> tuple[Update, ...]:
    known = {} if earlier is None else {update.digest: update for update in earlier.updates}
    updates: list[Update] = []
    for number in update_numbers(directory):
        if number <= manifest.settings["folded"]:
            continue
        path = update_directory(directory, number)
        found = read_manifest(path, kind=UPDATE_KIND, version=VERSION, remedy=REMEDY)
        updates = [update for update in updates if update.number < found.settings["covers"]]
        if found.digest() not in known:
            verify_bytes(path, found, remedy=REMEDY)
        updates.append(known.get(found.digest()) or _open_update(path, number, found))
    return tuple(updates)


def _open_update(path: Path, number: int, manifest: Manifest) -> Update:
    part = Part(path, manifest.settings["nearest"]) if manifest.counts["passages"] else None
    return Update(number, manifest.digest(), part, tuple(manifest.settings["deleted"]))


def _deleted(base: Part, updates: Sequence[Update]) -> tuple[Dead | None, int]:
    """Which rows are dead, and how many pages are not."""
    parts, first = [(0, base)], len(base)
    dead = np.zeros(first + sum(len(u.part) for u in updates if u.part is not None), dtype=bool)
    pages = base.page_count
    for update in updates:
        for page_id in update.deleted:
            for start, part in parts:
                rows = part.rows_of(page_id)
                if rows and not dead[start + rows[0]]:
                    dead[start + rows.start : start + rows.stop] = True
                    pages -= 1
        if update.part is not None:
            parts.append((first, update.part))
            first += len(update.part)
            pages += update.part.page_count
    return (dead if dead.any() else None), pages
