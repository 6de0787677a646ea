"""Random pages, and every format's way to write them."""

import csv
import html
import io
import json
import random
import tarfile
from collections.abc import Callable, Sequence
from itertools import accumulate
from xml.sax.saxutils import escape

from hypothesis import strategies as st

from retriever.passages import Page

Write = Callable[[Sequence[Page]], bytes]

_letters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
_lines = st.text(_letters, min_size=1, max_size=40).filter(lambda line: line.strip())
_words = st.text(st.characters(categories=["Lu", "Ll", "Lo", "Nd"]), min_size=1, max_size=9)
titles = _lines.map(str.strip).filter(bool)


def _page(number: int, title: str, paragraphs: list[str]) -> Page:
    starts = tuple(accumulate(map(len, paragraphs[:-1]), initial=0))
    return Page(
        str(number), title, "".join(paragraphs), f"https://w.org/wiki?curid={number}", starts
    )


def _pages(
    title: st.SearchStrategy[str], line: st.SearchStrategy[str]
) -> st.SearchStrategy[list[Page]]:
    paragraphs = st.lists(line.map(lambda text: f"{text}\n"), min_size=1, max_size=4)
    articles = st.lists(st.tuples(title, paragraphs), min_size=1, max_size=5)
    return articles.map(lambda all_: [_page(n, *article) for n, article in enumerate(all_, 1)])


any_pages = _pages(titles, _lines)
plain_pages = _pages(titles, st.lists(_words, min_size=1, max_size=8).map(" ".join))


def paragraphs_of(page: Page) -> list[str]:
    ends = [*page.paragraph_starts[1:], len(page.text)]
    return [page.text[start:end] for start, end in zip(page.paragraph_starts, ends, strict=True)]


def _json_lines(records: Sequence[object]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def kilt(pages: Sequence[Page]) -> bytes:
    return _json_lines(
        [
            {
                "wikipedia_id": page.id,
                "wikipedia_title": page.title,
                "text": [f"{page.title}\n", *paragraphs_of(page)],
            }
            for page in pages
        ]
    )


def jsonl(pages: Sequence[Page]) -> bytes:
    return _json_lines(
        [
            {"id": page.id, "title": page.title, "url": page.url, "text": paragraphs_of(page)}
            for page in pages
        ]
    )


def dpr(pages: Sequence[Page]) -> bytes:
    """The first paragraph of each page, since a passage is a line."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter="\t", lineterminator="\n")
    writer.writerow(["id", "text", "title"])
    writer.writerows([p.id, paragraphs_of(p)[0].rstrip("\n"), p.title] for p in pages)
    return file.getvalue().encode()


def wikiextractor(pages: Sequence[Page]) -> bytes:
    return "".join(
        f'<doc id="{page.id}" url="{page.url}" title="{html.escape(page.title, quote=False)}">\n'
        f"{html.escape(page.title, quote=False)}\n\n{html.escape(page.text, quote=False)}\n</doc>\n"
        for page in pages
    ).encode()


def wikiextractor_json(pages: Sequence[Page]) -> bytes:
    return _json_lines(
        [
            {
                "id": page.id,
                "revid": "1",
                "url": page.url,
                "title": page.title,
                "text": f"{page.title}\n\n{html.escape(page.text, quote=False)}",
            }
            for page in pages
        ]
    )


def wikiextractor_tar(pages: Sequence[Page]) -> bytes:
    return tarred({f"text/AA/wiki_{n:02}": wikiextractor([page]) for n, page in enumerate(pages)})


def tarred(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def mediawiki(pages: Sequence[Page], *, more: str = "") -> bytes:
    articles = "".join(
        f"<page><title>{escape(page.title)}</title><ns>0</ns><id>{page.id}</id><revision><id>9</id>"
        f"<text>{escape(page.text.replace(chr(10), chr(10) * 2))}</text></revision></page>\n"
        for page in pages
    )
    return (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">\n<siteinfo>'
        "<dbname>testwiki</dbname><base>https://w.org/wiki/Main_Page</base><namespaces>"
        '<namespace key="0"/><namespace key="6">Datei</namespace></namespaces></siteinfo>\n'
        f"{articles}{more}</mediawiki>\n"
    ).encode()


WRITERS: dict[str, tuple[str, Write]] = {  # name: the source that reads it
    "kilt": ("kilt", kilt),
    "jsonl": ("jsonl", jsonl),
    "dpr": ("dpr", dpr),
    "wikiextractor": ("wikiextractor", wikiextractor),
    "wikiextractor --json": ("wikiextractor", wikiextractor_json),
    "wikiextractor in a tar": ("wikiextractor", wikiextractor_tar),
    "mediawiki": ("mediawiki", mediawiki),
}


def many_pages(count: int) -> list[Page]:
    """Pages of about half a kilobyte, which no compression makes very small."""
    words = random.Random(7)
    return [
        _page(n, f"Page {n}", [f"{words.getrandbits(200):x} is salt. " * 4 + "\n"] * 2)
        for n in range(1, count + 1)
    ]
