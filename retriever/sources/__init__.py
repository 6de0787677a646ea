"""Corpora: one reader a format, each a `Source` that streams pages."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from retriever.errors import SourceError
from retriever.passages import Page
from retriever.sources import kilt, starter


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus that can be read from its beginning any number of times."""

    name: str
    description: str
    fingerprint: str
    """Changes when the corpus changes: an index is built from one fingerprint."""
    wikipedia_ids: bool
    """Whether page ids are the `wikipedia_id`s that KILT scores by."""
    pages: Callable[[], Iterator[Page]]


def open_source(name: str, path: Path | None = None) -> Source:
    """A corpus by the name of its format.

    Raises:
        SourceError: there is no such format, or the corpus cannot be read.
        StarterPackMissing: the starter corpus is not installed.
    """
    if name == "starter":
        if path is not None:
            raise SourceError("the source 'starter' is part of the starter pack and takes no path")
        return Source(
            name,
            starter.DESCRIPTION,
            starter.fingerprint(),
            wikipedia_ids=False,
            pages=starter.pages,
        )
    if name == "kilt":
        if path is None or not path.is_file():
            found = "none is named" if path is None else f"there is none at {path}"
            raise SourceError(
                "the source 'kilt' reads a KILT knowledge source, a file of JSON lines, plain or "
                f".xz, and {found}; name one, for example "
                "'rag-rt index build --source kilt kilt_knowledgesource.json --out DIR'"
            )
        return Source(
            name,
            f"KILT knowledge source {path.name}",
            kilt.fingerprint(path),
            wikipedia_ids=True,
            pages=lambda: kilt.pages(path),
        )
    raise SourceError(f"there is no source '{name}'; the sources are 'starter' and 'kilt'")


__all__ = ["Source", "open_source"]
