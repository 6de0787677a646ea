"""Corpora: one reader a format, each a `Source` that streams pages."""

from pathlib import Path

from retriever.errors import SourceError
from retriever.sources import dpr, huggingface, jsonl, kilt, mediawiki, starter, wikiextractor
from retriever.sources.formats import Format, Source
from retriever.sources.skipping import Skipped

FORMATS = {
    source.name: source
    for source in (
        starter.FORMAT,
        kilt.FORMAT,
        dpr.FORMAT,
        mediawiki.FORMAT,
        wikiextractor.FORMAT,
        huggingface.FORMAT,
        jsonl.FORMAT,
    )
}


def open_source(name: str, path: str | Path | None = None) -> Source:
    """A corpus by the name of its format.

    Args:
        name: one of `FORMATS`.
        path: a file or folder, '-' for standard input, or a name on the Hugging Face Hub, as the
            format takes it.

    Raises:
        SourceError: there is no such format, or the corpus cannot be read.
        StarterPackMissing: the starter corpus is not installed.
    """
    if name not in FORMATS:
        raise SourceError(f"there is no source '{name}'; the sources are {', '.join(FORMATS)}")
    source = FORMATS[name]
    if source.example is None and path is not None:
        raise SourceError(f"the source '{name}' reads {source.reads} and takes no path")
    if source.example is not None and path is None:
        raise SourceError(
            f"the source '{name}' reads {source.reads}, and none is named; name one, for example "
            f"'rag-rt index build --source {name} {source.example} --out DIR'"
        )
    return source.open("" if path is None else str(path))


__all__ = ["FORMATS", "Format", "Skipped", "Source", "open_source"]
