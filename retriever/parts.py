"""A searchable part of an index: passages, their vectors, their words, and which page has which.

The base of an index is a part, and so is each of its updates. A part is written in stages, each of
which is kept once it is done, and is never changed afterwards.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retriever.ann_building import build_ann
from retriever.artefacts import atomic_write
from retriever.kinds import Kind
from retriever.lexical import LexicalIndex
from retriever.page_table import PageTable
from retriever.passages import Passage, PassageStore
from retriever.vector_file import VectorFile
from retriever.vector_index import VectorIndex
from retriever.vectors import Progress, Vectors

PASSAGES = "passages.arrow"
PAGES = "pages.npy"
VECTORS = "vectors.npy"
NEAREST = "ann"
WORDS = "bm25"
CHUNK = 1024  # passages between two safe points: about 6 seconds of encoding on 2 cores

Report = Callable[[str], None]
Stored = npt.NDArray[np.floating[Any]]
"""Vectors (N, D), of the precision that they are stored in."""


class Part:
    """A part that was written by the functions of this module."""

    def __init__(self, directory: Path, nearest: Mapping[str, Any]) -> None:
        """Open a part.

        Args:
            directory: where it is.
            nearest: what `index_part` gave.

        Raises:
            ArtefactDamaged: a file cannot be read.
        """
        self.passages = PassageStore(directory / PASSAGES)
        self.vectors = VectorIndex(directory / NEAREST, directory / VECTORS, nearest)
        self.words = LexicalIndex(directory / WORDS)
        self.stored: Stored = np.load(directory / VECTORS, mmap_mode="r")
        """The vectors (N, D) as they lie on the disk."""
        self._pages = PageTable(directory / PAGES)

    def __len__(self) -> int:
        return len(self.passages)

    @property
    def page_count(self) -> int:
        """Pages that its passages are from."""
        return len(self._pages)

    def rows_of(self, page_id: str) -> range:
        """The rows of the passages of a page, in order; empty where it has none."""
        for rows in self._pages.candidates(page_id):
            if self.passages.page_id(rows[0]) == page_id:
                return rows
        return range(0)


def write_passages(passages: Iterable[Passage], directory: Path) -> PassageStore:
    """The first stage: passages as they come, those of a page together, and the table of pages."""
    store_path, pages_path = directory / PASSAGES, directory / PAGES
    if not store_path.is_file():
        PassageStore.write(passages, store_path)
    store = PassageStore(store_path)
    if not pages_path.is_file():
        PageTable.write(store.page_ids(), pages_path)
    return store


def write_vectors(
    blocks: Callable[[int], Stored],
    count: int,
    directory: Path,
    kind: Kind,
    progress: Progress = lambda done, total: None,
) -> None:
    """The second stage: exact vectors, in half precision where something else searches first.

    Args:
        blocks: the vectors of the `CHUNK` rows from a row on, fewer at the end.
        count: of passages.
        directory: of the part.
        kind: how they are to be searched.
        progress: told how many are written.
    """
    file = VectorFile(directory / VECTORS, count, kind.dtype)
    while file.done < count:
        file.append(blocks(file.done))
        progress(file.done, count)
    file.finish()


def index_part(
    directory: Path,
    kind: Kind,
    work: Path,
    *,
    questions: Vectors | None = None,
    like: LexicalIndex | None = None,
    report: Report = lambda message: None,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """The last stage: whatever finds vectors and words faster than reading all of them.

    Args:
        directory: of the part.
        kind: how vectors are to be searched.
        work: a folder for what is unfinished.
        questions: vectors (S, D) of questions like those that will be asked, which a search that is
            not exact is set by.
        like: whose statistics of words are to be used; by default the part's own.
        report: told in a sentence what each step does.
        progress: told how far a long step is.

    Returns:
        what `Part` needs for opening it.
    """
    settings_path = work / "nearest.json"
    if settings_path.is_file():
        nearest: dict[str, Any] = json.loads(settings_path.read_bytes())
    else:
        nearest = build_ann(
            directory / VECTORS,
            kind,
            directory / NEAREST,
            work=work / NEAREST,
            questions=questions,
            report=report,
            progress=progress,
        )
        with atomic_write(settings_path) as file:
            file.write(json.dumps(nearest).encode())
    report("Indexing the words")
    store = PassageStore(directory / PASSAGES)
    LexicalIndex.build(store.texts, directory / WORDS, work=work / WORDS, like=like)
    return nearest
