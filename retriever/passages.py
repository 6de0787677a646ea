"""Pages, passages, and the memory-mapped store that passages live in."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from retriever.artefacts import atomic_write


@dataclass(frozen=True, slots=True)
class Page:
    """An article as a source gives it.

    `paragraph_starts` are the offsets in `text` at which its paragraphs begin, numbered from 1 as
    KILT numbers them (its paragraph 0 is the title line); empty where a source has no paragraphs.
    """

    id: str
    title: str
    text: str
    url: str
    paragraph_starts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """A window of a page: `text == page.text[start:end]`, offsets in characters.

    The last four fields say the same as KILT does, and are None where the page has no paragraphs:
    the text begins at `start_character` of paragraph `start_paragraph_id`, holds what stands
    between, and ends before `end_character` of paragraph `end_paragraph_id`.
    """

    id: str
    page_id: str
    title: str
    text: str
    url: str
    start: int
    end: int
    start_paragraph_id: int | None = None
    start_character: int | None = None
    end_paragraph_id: int | None = None
    end_character: int | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found for a query; `rank` counts from 1."""

    passage: Passage
    score: float
    """What it was ranked by: greater is better, and no more can be said of it in general."""
    rank: int
    similarity: float
    """Inner product of the vectors of query and passage, whatever it was ranked by."""


MAX_PASSAGES = 50  # that an answer may be written from
MOST_HITS = 1000  # that a search may ask for

_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "page_id": pa.string(),
        "title": pa.string(),
        "text": pa.string(),
        "url": pa.string(),
        "start": pa.int64(),
        "end": pa.int64(),
        "start_paragraph_id": pa.int32(),
        "start_character": pa.int32(),
        "end_paragraph_id": pa.int32(),
        "end_character": pa.int32(),
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

    def page_id(self, row: int) -> str:
        """The page that the passage of a row is from."""
        page_id: str = self._table["page_id"][row].as_py()
        return page_id

    def page_ids(self) -> Iterator[str]:
        """The page of each row, in order."""
        for chunk in self._table["page_id"].chunks:
            yield from chunk.to_pylist()

    def texts(self) -> Iterator[str]:
        """What is encoded of each row, in order: the title, a line break, the text."""
        for batch in self._table.select(["title", "text"]).to_batches():
            for title, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield f"{title}\n{text}"

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
