"""Pages, passages, and the memory-mapped store that passages live in."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from retriever.artefacts import atomic_write


@dataclass(frozen=True, slots=True)
class Page:
    """An article as a source gives it."""

    id: str
    title: str
    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A window of a page: `text == page.text[start:end]`, offsets in characters."""

    id: str
    page_id: str
    title: str
    text: str
    url: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found for a query: `score` is the inner product with it, `rank` counts from 1."""

    passage: Passage
    score: float
    rank: int


MAX_PASSAGES = 50  # hits a query may ask for

_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "page_id": pa.string(),
        "title": pa.string(),
        "text": pa.string(),
        "url": pa.string(),
        "start": pa.int64(),
        "end": pa.int64(),
    }
)
_BATCH = 4096  # passages held in memory while writing


class PassageStore:
    """Passages in an Arrow file, read through a memory map: opening costs nothing."""

    def __init__(self, path: Path) -> None:
        with pa.memory_map(str(path)) as source:
            self._table = pa.ipc.open_file(source).read_all()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def rows(self, first: int, last: int) -> list[Passage]:
        """Passages `first` up to but not including `last`."""
        return [Passage(**row) for row in self._table.slice(first, last - first).to_pylist()]

    def take(self, rows: Sequence[int]) -> list[Passage]:
        """The passages at these rows, in this order."""
        return [passage for row in rows for passage in self.rows(row, row + 1)]

    def count_pages(self) -> int:
        """How many different pages the passages are from."""
        return len(pc.unique(self._table["page_id"]))

    @staticmethod
    def write(passages: Iterable[Passage], path: Path) -> int:
        """Write passages as they come, in constant memory; returns their number."""
        stream, count = iter(passages), 0
        with (
            atomic_write(path) as file,
            pa.ipc.new_file(file, _SCHEMA) as writer,
        ):
            while batch := list(islice(stream, _BATCH)):
                rows = [asdict(passage) for passage in batch]
                writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=_SCHEMA))
                count += len(batch)
        return count
