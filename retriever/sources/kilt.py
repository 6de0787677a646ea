"""KILT's knowledge source: one JSON object a line (Petroni et al. 2021, §3).

`text` is a list: the title line, then the paragraphs. A page's text is the concatenation of the
paragraphs, and keeps where each begins.
"""

import json
import lzma
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from retriever.errors import SourceError
from retriever.passages import Page


def fingerprint(path: Path) -> str:
    """Name, size and time of change: the whole file is too large to be hashed at every start."""
    status = path.stat()
    return f"{path.name}:{status.st_size}:{status.st_mtime_ns}"


def pages(path: Path) -> Iterator[Page]:
    """The pages of a knowledge source, streamed; `.xz` is decompressed on the way.

    Raises:
        SourceError: a line is not a KILT page; the message names file and line.
    """
    opener = lzma.open if path.suffix == ".xz" else open
    number = 1
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                page_id = str(record["wikipedia_id"])
                paragraphs = record["text"][1:]
                yield Page(
                    id=page_id,
                    title=record["wikipedia_title"],
                    text="".join(paragraphs),
                    url=f"https://en.wikipedia.org/wiki?curid={page_id}",
                    paragraph_starts=tuple(accumulate(map(len, paragraphs[:-1]), initial=0)),
                )
                number += 1
    except (ValueError, KeyError, TypeError, EOFError, lzma.LZMAError) as error:
        raise SourceError(
            f"{path}, line {number}: not a page of a KILT knowledge source ({error!r}); "
            "repair or remove that line"
        ) from error
