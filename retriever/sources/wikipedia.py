"""Addresses of Wikipedia's articles."""

from urllib.parse import quote

ENGLISH = "https://en.wikipedia.org/wiki"


def url_of_id(page_id: str, wiki: str = ENGLISH) -> str:
    """The address of a page by its number."""
    return f"{wiki}?curid={quote(page_id)}"


def url_of_title(title: str) -> str:
    """The address of an English article by its title."""
    return f"{ENGLISH}/{quote(title.replace(' ', '_'), errors='replace')}"
