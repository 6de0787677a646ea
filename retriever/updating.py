"""Changing an index that others search: pages added, replaced and deleted; and all of it folded.

A change is a folder of its own, which appears under a number once it is whole and on the disk:
then it is acknowledged, and every search that begins later sees it. Changes are folded into fewer
as they become many, as log-structured merge trees do (O'Neil et al. 1996), and into a new base by
`compact`. One process writes at a time; whoever searches is never in its way.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from retriever.ann_files import SAMPLE_QUESTIONS
from retriever.artefacts import exclusive, seal, sync_directory
from retriever.building import GENERATION, finish_generation, start_or_resume, wished_kind
from retriever.errors import QueryError
from retriever.index import Rows, Snapshot, open_snapshot, require_encoder
from retriever.index_files import (
    KIND,
    UPDATE_KIND,
    UPDATES,
    VERSION,
    update_directory,
    update_numbers,
)
from retriever.kinds import FLAT, Kind
from retriever.page_table import PageTable
from retriever.parts import (
    CHUNK,
    NEAREST,
    PAGES,
    Report,
    Stored,
    index_part,
    write_passages,
    write_vectors,
)
from retriever.passages import Page, Passage
from retriever.splitting import split_page
from retriever.vectors import DualEncoder, Progress, Vectors

PAGES_AT_ONCE = 64  # acknowledged together: about three seconds of encoding on 2 cores
MANY = 4  # changes of like size are folded into one


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the pages that a change named."""

    added: int = 0
    replaced: int = 0
    deleted: int = 0
    left_alone: int = 0
    """Pages to add that are there, or to delete that are not."""

    def __add__(self, other: "Change") -> "Change":
        return Change(
            self.added + other.added,
            self.replaced + other.replaced,
            self.deleted + other.deleted,
            self.left_alone + other.left_alone,
        )


def add_pages(
    directory: Path,
    encoder: DualEncoder,
    pages: Iterable[Page],
    *,
    replace_pages: bool,
    acknowledged: Callable[[Change], None] = lambda change: None,
) -> Change:
    """Add pages to an index, `PAGES_AT_ONCE` at a time.

    What is acknowledged stays, whatever happens after; the same call again goes on.

    Args:
        directory: the index.
        encoder: that the index was built with.
        pages: as a source gives them.
        replace_pages: take the place of the pages that are there with these ids, which are
            otherwise left alone. A page without text is then deleted.
        acknowledged: told what is done so far.

    Raises:
        BuildInProgress: another process changes the index.
        ArtefactError: the index cannot be opened, or was built with another encoder.
    """
    stream, change = iter(pages), Change()
    with _writing(directory):
        while batch := list(islice(stream, PAGES_AT_ONCE)):
            snapshot = open_snapshot(directory)
            require_encoder(snapshot, encoder)
            there = [page for page in batch if snapshot.holds_page(page.id)]
            new = batch if replace_pages else [page for page in batch if page not in there]
            deleted = [page.id for page in there] if replace_pages else []
            passages = [passage for page in new for passage in split_page(page)]
            if passages or deleted:
                _append(snapshot, passages, partial(_encoded, encoder, passages), deleted)
            change += Change(
                added=len(new) - len(deleted),
                replaced=len(deleted),
                left_alone=len(there) - len(deleted),
            )
            acknowledged(change)
    return change


def delete_pages(directory: Path, page_ids: Sequence[str]) -> Change:
    """Delete pages from an index: no search that begins later returns a passage of them.

    Raises:
        BuildInProgress: another process changes the index.
        ArtefactError: the index cannot be opened.
    """
    with _writing(directory):
        snapshot = open_snapshot(directory)
        deleted = [page for page in dict.fromkeys(page_ids) if snapshot.holds_page(page)]
        if deleted:
            _append(snapshot, [], None, deleted)
    return Change(deleted=len(deleted), left_alone=len(set(page_ids)) - len(deleted))


def compact(
    directory: Path,
    *,
    report: Report = lambda message: None,
    progress: Progress = lambda done, total: None,
) -> bool:
    """Fold all changes into a new base, in whose place the old one stays until it is whole.

    Nothing is encoded anew. Stopped at any point, the next call goes on.

    Returns:
        whether there was something to fold.

    Raises:
        BuildInProgress: another process changes the index.
        ArtefactError: the index cannot be opened.
        QueryError: every passage was deleted.
    """
    with _writing(directory):
        snapshot = open_snapshot(directory)
        _sweep(snapshot)
        if not snapshot.updates:
            return False
        if not len(snapshot):
            raise QueryError(
                f"every passage of {directory} was deleted, and an index cannot be empty; add "
                "pages first, or remove the directory"
            )
        _compact(snapshot, report, progress)
        _sweep(open_snapshot(directory))
    return True


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Be the only process that changes an index."""
    if not directory.is_dir():
        open_snapshot(directory)  # says that there is none, and leaves no lock behind
    with exclusive(directory):
        yield


def sample_questions(snapshot: Snapshot, kind: Kind) -> Vectors | None:
    """The questions (S, D) that the search of a base was set by, for setting another by them."""
    asked = (
        snapshot.directory / snapshot.manifest.settings["generation"] / NEAREST / SAMPLE_QUESTIONS
    )
    if kind.exact or not asked.is_file():
        return None
    return np.asarray(np.load(asked), dtype=np.float32)


def _compact(snapshot: Snapshot, report: Report, progress: Progress) -> None:
    work = snapshot.directory / "compacting"
    start_or_resume(work, {"version": snapshot.version}, report)
    number = int(snapshot.manifest.settings["generation"].rpartition("-")[2]) + 1
    new = work / "index" / GENERATION.format(number)
    new.mkdir(exist_ok=True)
    rows = snapshot.live_rows()
    report(f"Copying {len(rows):,} passages")
    store = write_passages(_passages(snapshot, rows), new)
    settings = snapshot.manifest.settings
    kind = wished_kind(settings, len(store), snapshot.base.vectors.dimension)

    def vectors(first: int) -> Stored:
        return snapshot.stored(rows[first : first + CHUNK])

    questions = sample_questions(snapshot, kind)
    made = finish_generation(store, vectors, kind, questions, new, work, report, progress)
    target = snapshot.directory / new.name
    shutil.rmtree(target, ignore_errors=True)  # of a run that was stopped before the manifest
    new.rename(target)
    sync_directory(snapshot.directory)
    seal(
        snapshot.directory,
        kind=KIND,
        version=VERSION,
        settings={**settings, **made, "folded": snapshot.updates[-1].number},
        counts={
            **snapshot.manifest.counts,
            "passages": len(store),
            "pages": len(PageTable(target / PAGES)),
        },
        part=new.name,
    )


def _append(
    snapshot: Snapshot,
    passages: Sequence[Passage],
    vectors: Callable[[int], Stored] | None,
    deleted: Sequence[str],
) -> None:
    """Acknowledge a change, then fold it with its like where they are many."""
    number = _next_number(snapshot)
    _write(snapshot, number, number, passages, vectors, deleted)
    snapshot = open_snapshot(snapshot.directory, snapshot)
    if (first := _to_fold(snapshot)) is not None:
        _fold(snapshot, first)
        snapshot = open_snapshot(snapshot.directory, snapshot)
    _sweep(snapshot)


def _encoded(encoder: DualEncoder, passages: Sequence[Passage], first: int) -> Stored:
    return encoder.encode_passages(passages[first : first + CHUNK])


def _to_fold(snapshot: Snapshot) -> int | None:
    """The place of the first update of those at the end that are to become one, if any are."""
    sizes = [1 if update.part is None else len(update.part) for update in snapshot.updates]
    first, total = len(sizes) - 1, sizes[-1]
    while first > 0 and sizes[first - 1] <= 2 * total:
        first -= 1
        total += sizes[first]
    return first if len(sizes) - first >= MANY else None


def _fold(snapshot: Snapshot, first: int) -> None:
    folded = snapshot.updates[first:]
    size = sum(len(update.part) for update in folded if update.part is not None)
    rows = snapshot.live_rows()
    rows = rows[rows >= snapshot.row_count - size]
    _write(
        snapshot,
        _next_number(snapshot),
        folded[0].number,
        list(_passages(snapshot, rows)),
        lambda start: snapshot.stored(rows[start : start + CHUNK]),
        list(dict.fromkeys(page for update in folded for page in update.deleted)),
    )


def _write(
    snapshot: Snapshot,
    number: int,
    covers: int,
    passages: Sequence[Passage],
    vectors: Callable[[int], Stored] | None,
    deleted: Sequence[str],
) -> None:
    updates = snapshot.directory / UPDATES
    updates.mkdir(exist_ok=True)
    new = updates / "unfinished"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    nearest: dict[str, Any] = {}
    if passages:
        assert vectors is not None
        write_passages(passages, new)
        write_vectors(vectors, len(passages), new, FLAT)
        with TemporaryDirectory(dir=updates, prefix="work-") as work:
            nearest = index_part(new, FLAT, Path(work), like=snapshot.base.words)
    seal(
        new,
        kind=UPDATE_KIND,
        version=VERSION,
        settings={"covers": covers, "deleted": list(deleted), "nearest": nearest},
        counts={"passages": len(passages)},
    )
    new.rename(update_directory(snapshot.directory, number))
    sync_directory(updates)


def _next_number(snapshot: Snapshot) -> int:
    numbers = update_numbers(snapshot.directory)
    return max([*numbers, int(snapshot.manifest.settings["folded"])]) + 1


def _passages(snapshot: Snapshot, rows: Rows) -> Iterator[Passage]:
    for first in range(0, len(rows), CHUNK):
        yield from snapshot.take(rows[first : first + CHUNK].tolist())


def _sweep(snapshot: Snapshot) -> None:
    """Remove what nothing refers to any more; whoever still reads it has it open.

    An update loses its number before it loses a file: whoever opens the index meanwhile, or after
    a crash in the middle of this, finds it whole or not at all.
    """
    updates = snapshot.directory / UPDATES
    in_use = {update.number for update in snapshot.updates}
    for number in update_numbers(snapshot.directory):
        if number not in in_use:
            update_directory(snapshot.directory, number).rename(updates / f"removed-{number:06d}")
    if updates.is_dir():
        sync_directory(updates)
        for path in updates.iterdir():
            if not path.name.isdecimal():  # also what a writer that was killed left behind
                shutil.rmtree(path)
    for path in snapshot.directory.glob("generation-*"):
        if path.name != snapshot.manifest.settings["generation"]:
            shutil.rmtree(path)
    if not snapshot.updates:
        shutil.rmtree(snapshot.directory / "compacting", ignore_errors=True)
