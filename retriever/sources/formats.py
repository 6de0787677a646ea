"""What a corpus and a format of corpora are."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from retriever.errors import SourceError
from retriever.passages import Page
from retriever.sources.inputs import Input, lines, named_input, reading
from retriever.sources.records import TOO_LONG, Malformed, Record, screened
from retriever.sources.skipping import Skipped


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus that can be read from its beginning any number of times."""

    name: str
    description: str
    fingerprint: str
    """Changes when the corpus changes: an index is built from one fingerprint."""
    wikipedia_ids: bool
    """Whether page ids are the `wikipedia_id`s that KILT scores by."""
    records: Callable[[], Iterator[Record]]

    def pages(self, skipped: Skipped | None = None) -> Iterator[Page]:
        """The pages, streamed; without a `Skipped`, the first malformed record is an error.

        Raises:
            SourceError: too many records are malformed, or the corpus cannot be read to its end.
        """
        return screened(self.records(), skipped or Skipped(), self.description)


@dataclass(frozen=True, slots=True)
class Format:
    """A form that corpora come in; help and error messages are made from these."""

    name: str
    reads: str
    """What it reads, to follow "reads" in a sentence."""
    example: str | None
    """What may be named as its path; None where it takes none."""
    open: Callable[[str], Source]


Parse = Callable[[bytes, int], Page | None]
"""A line and its number into a page, None where it is no record; raises `Malformed`."""


def line_format(
    name: str, noun: str, details: str, example: str, parse: Parse, *, wikipedia_ids: bool = False
) -> Format:
    """A format in which each line is a page; `noun` and `details` say what it reads."""

    def open_lines(path: str) -> Source:
        source = named_input(path)
        return Source(
            name,
            f"{noun} {source.label}",
            source.fingerprint,
            wikipedia_ids=wikipedia_ids,
            records=lambda: _line_records(source, parse),
        )

    return Format(name, f"{noun}, {details}", example, open_lines)


def _line_records(source: Input, parse: Parse) -> Iterator[Record]:
    with reading(source) as stream:
        yield from parsed_lines(source.name, stream, parse)


def parsed_lines(name: str, stream: io.BufferedReader, parse: Parse) -> Iterator[Record]:
    """What the lines of a stream are; blank ones are nothing.

    Raises:
        SourceError: the last line is malformed and has no end, so the file is cut short.
    """
    for number, line in lines(stream):
        place = f"{name}, line {number:,}"
        if line is None:
            yield place, TOO_LONG
        elif not line.isspace():
            try:
                if page := parse(line, number):
                    yield place, page
            except Malformed as error:
                if not line.endswith(b"\n") and number > 1:
                    raise SourceError(
                        f"{place}: the file ends within a record ({error}), it seems to be cut "
                        "short; fetch it again, or remove that line"
                    ) from None
                yield place, error
