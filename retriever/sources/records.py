"""What every reader gives and every corpus goes through: records, and pages that can be stored."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from retriever.errors import SourceError
from retriever.passages import Page
from retriever.sources.seen import SeenIds
from retriever.sources.skipping import Skipped

LONGEST = 64 << 20  # bytes of a record; the longest page of Wikipedia has 2 MiB
HOPELESS = 100  # malformed records at the beginning of a corpus that must be of another format


class Malformed(Exception):
    """A record is no page, for the reason that the message gives."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A record that is none of the corpus's pages, by design."""

    kind: str


Record = tuple[str, Page | Malformed | LeftOut]
"""Where a record stands, as an error message names it, and what it is."""

TOO_LONG = Malformed(f"it is longer than {LONGEST >> 20} MiB")

_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def screened(records: Iterable[Record], skipped: Skipped, description: str) -> Iterator[Page]:
    """The pages among records, each id once.

    Control characters and lone surrogates, which cannot be stored, become U+FFFD, so that offsets
    stay.

    Raises:
        SourceError: more records are malformed than `skipped` allows, the first `HOPELESS` are, or
            none is a page.
    """
    seen, pages, malformed = SeenIds(), 0, 0
    for place, record in records:
        if isinstance(record, Page):
            if seen.add(record.id):
                pages += 1
                yield _fit(record)
            else:
                skipped.add(place, f"the page id '{record.id}' was there before")
        elif isinstance(record, LeftOut):
            skipped.left_out[record.kind] += 1
        else:
            malformed += 1
            skipped.add(place, str(record))
            if malformed == HOPELESS and not pages:
                raise SourceError(
                    f"{place}: {record}, and so are all {HOPELESS} records before; {description} "
                    "seems to be in another format, name that with '--source'"
                )
    if not pages:
        found = f"none of its {malformed:,} records is a page" if malformed else "it has no pages"
        raise SourceError(f"{description} holds no text: {found}; name another file or source")


def _fit(page: Page) -> Page:
    page_id, title, text, url = (
        _UNFIT.sub("\ufffd", part) for part in (page.id, page.title, page.text, page.url)
    )
    return replace(page, id=page_id, title=title, text=text, url=url)


def decoded(line: bytes) -> str:
    """A line as text.

    Raises:
        Malformed: it is not UTF-8.
    """
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"it is not UTF-8 (byte {error.start + 1:,} of the line)") from None


def json_object(line: bytes) -> dict[str, Any]:
    """A line as a JSON object.

    Raises:
        Malformed: it is none.
    """
    try:
        record = json.loads(decoded(line))
    except RecursionError:
        raise Malformed("its JSON is nested too deeply") from None
    except ValueError as error:
        raise Malformed(f"it is no JSON ({error})") from None
    if not isinstance(record, dict):
        raise Malformed("it is JSON, but no object")
    return record


def string(record: Mapping[str, Any], field: str) -> str:
    """A field that must hold a string which is not blank.

    Raises:
        Malformed: it is missing, blank or no string.
    """
    value = record.get(field)
    if not isinstance(value, str) or not value.strip():
        raise Malformed(f"its '{field}' is {_found(value)}, no text")
    return value


def identifier(record: Mapping[str, Any], field: str) -> str:
    """A field that must hold a number or a string which is not blank.

    Raises:
        Malformed: it does not.
    """
    value = record.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return string(record, field)


def strings(record: Mapping[str, Any], field: str) -> list[str]:
    """A field that must hold a list of strings.

    Raises:
        Malformed: it does not.
    """
    value = record.get(field)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Malformed(f"its '{field}' is {_found(value)}, no list of strings")
    return value


def _found(value: object) -> str:
    if value is None:
        return "missing"
    if value == "" or (isinstance(value, str) and value.isspace()):
        return "blank"
    return "of another type" if isinstance(value, list) else f"of type {type(value).__name__}"


def joined(paragraphs: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """A page's text, and the offsets at which its paragraphs begin."""
    return "".join(paragraphs), tuple(accumulate(map(len, paragraphs[:-1]), initial=0))
