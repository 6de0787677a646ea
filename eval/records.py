"""KILT JSON-lines files, read as the official scorer reads them, and two of them joined by id.

A line ends at LF, CRLF or CR; every line is one JSON object in UTF-8 with an `id`. Ids are compared
as text without the white space around it, so that 5, "5" and " 5" are one id. Files are read twice
and never held: what stays in memory is an offset for each line and, while joining, the guess ids.

Source: `load_data` and `validate_input` of facebookresearch/KILT at 2664322.
"""

import io
import json
import shutil
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from eval.errors import BadId, MissingGuess, NotARecord, UnreadableFile

_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a KILT file; `id` is the text under which ids are compared."""

    path: Path
    line: int
    id: str
    data: dict[str, Any]


class RecordFile:
    """A KILT file as a sequence of records, each parsed when it is asked for."""

    def __init__(self, path: Path) -> None:
        """Open the file and find its lines.

        Raises:
            UnreadableFile: it cannot be opened or read.
        """
        self.path = path
        try:
            with ExitStack() as stack:
                self._file = stack.enter_context(_open_seekable(path))
                self._starts = _line_starts(self._file)
                self._open = stack.pop_all()
        except OSError as error:
            raise _unreadable(path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._open.close()

    def __len__(self) -> int:
        """How many lines, and so records, the file has."""
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[Record]:
        """Give every record, in the order of the file."""
        return (self[ordinal] for ordinal in range(len(self)))

    def __getitem__(self, ordinal: int) -> Record:
        """Parse the record on line `ordinal` + 1.

        Raises:
            UnreadableFile: the file can no longer be read.
            NotARecord: the line is not one JSON object in UTF-8.
            BadId: it has no id.
        """
        if not 0 <= ordinal < len(self):
            raise IndexError(f"{self.path} has {len(self)} records, record {ordinal} was asked for")
        start, stop = self._starts[ordinal], self._starts[ordinal + 1]
        try:
            self._file.seek(start)
            raw = self._file.read(stop - start)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return _parse(self.path, ordinal + 1, raw)


class AlignedFiles:
    """A guess and a gold file joined by id: gives (guess, gold) pairs in gold order.

    Guesses that no gold record has are left out, as the official scorer leaves them out.
    """

    def __init__(self, guess_path: Path, gold_path: Path) -> None:
        """Read both files once and join them.

        Raises:
            UnreadableFile: a file cannot be opened or read.
            BadRecord: a line is no record, an id stands twice, or a gold record has no guess.
        """
        with ExitStack() as stack:
            self.guesses = stack.enter_context(closing(RecordFile(guess_path)))
            self.golds = stack.enter_context(closing(RecordFile(gold_path)))
            self._guess_of_gold, self._used = _join(self.guesses, self.golds)
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        """Return itself; leaving closes both files."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close both files."""
        self._open.close()

    def __len__(self) -> int:
        """How many pairs there are: one for each gold record."""
        return len(self.golds)

    def __iter__(self) -> Iterator[tuple[Record, Record]]:
        """Give (guess, gold) pairs, in the order of the gold file."""
        for ordinal, guess in enumerate(self._guess_of_gold):
            yield self.guesses[guess], self.golds[ordinal]

    def extra_guesses(self) -> Iterator[Record]:
        """Give the guesses that no gold record has, in the order of their file."""
        return (self.guesses[ordinal] for ordinal, used in enumerate(self._used) if not used)


def _join(guesses: RecordFile, golds: RecordFile) -> "tuple[array[int], bytearray]":
    """The guess ordinal of every gold record, and for every guess whether a gold record has it."""
    ordinals = _ordinals_by_id(guesses)
    used = bytearray(len(guesses))
    guess_of_gold = array("q")
    missing: list[tuple[int, str]] = []
    for gold in golds:
        ordinal = ordinals.get(gold.id)
        if ordinal is None:
            missing.append((gold.line, gold.id))
        elif used[ordinal]:
            raise standing_twice(gold)
        else:
            used[ordinal] = 1
            guess_of_gold.append(ordinal)
    if missing:
        line, record_id = missing[0]
        raise MissingGuess(
            golds.path,
            line,
            record_id,
            f"{guesses.path} has no guess for this id (guesses missing in all: {len(missing)} of "
            f"{len(golds)})",
            "add a guess, with an empty answer where there is none",
        )
    return guess_of_gold, used


def _ordinals_by_id(file: RecordFile) -> dict[str, int]:
    ordinals: dict[str, int] = {}
    for ordinal, record in enumerate(file):
        if ordinals.setdefault(record.id, ordinal) != ordinal:
            raise standing_twice(record)
    return ordinals


def standing_twice(record: Record) -> BadId:
    """The refusal of a record whose id an earlier one has."""
    return BadId(
        record.path,
        record.line,
        record.id,
        "this id stands on an earlier line already (ids are compared as text, stripped)",
        "keep one record for each id",
    )


def require_rereadable(*paths: Path) -> None:
    """Refuse pipes, for what reads a file more than once: a pipe is empty the second time.

    Raises:
        UnreadableFile: a path is a pipe.
    """
    for path in paths:
        if path.is_fifo():
            raise UnreadableFile(f"{path} is a pipe and is read more than once; name a file")


def _open_seekable(path: Path) -> IO[bytes]:
    """Open for reading; a pipe is copied to an unnamed file, since lines are read twice."""
    file = path.open("rb")
    if file.seekable():
        return file
    with file:
        copy = tempfile.TemporaryFile()  # noqa: SIM115, handed on open
        shutil.copyfileobj(file, copy)
        return copy


def _line_starts(file: IO[bytes]) -> "array[int]":
    """The byte offset of every line, then that of the end of the file."""
    starts = array("q", [0])
    file.seek(0)
    # Latin-1 has one character a byte, so lines keep their lengths; newline="" ends them at LF,
    # CRLF and CR and leaves the line ends in. In UTF-8 neither byte is part of another character.
    text = io.TextIOWrapper(file, encoding="latin-1", newline="")
    for line in text:
        starts.append(starts[-1] + len(line))
    text.detach()
    return starts


def _unreadable(path: Path, error: OSError) -> UnreadableFile:
    reason = error.strerror or str(error)
    return UnreadableFile(f"{path} cannot be read: {reason}; check the path and its permissions")


def _parse(path: Path, line: int, raw: bytes) -> Record:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"byte {error.start + 1} of the line is not UTF-8"
        raise NotARecord(path, line, None, problem, "save the file as UTF-8") from None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_json(path, line, text, error) from None
    if not isinstance(data, dict):
        problem = f"expected a JSON object, found a JSON {json_type(data)}"
        remedy = "write one record, as one JSON object, on each line"
        raise NotARecord(path, line, None, problem, remedy)
    if "id" not in data:
        raise BadId(path, line, None, "the record has no 'id'", "give it the id of its question")
    return Record(path, line, str(data["id"]).strip(), data)


def _not_json(path: Path, line: int, text: str, error: Exception) -> NotARecord:
    """Say why a line is not JSON, naming the usual causes."""
    remedy = "write one record, as one JSON object, on each line"
    if text.startswith(_BYTE_ORDER_MARK):
        problem, remedy = "the line begins with a byte order mark", "save as UTF-8 without a BOM"
    elif not text.strip():
        problem, remedy = "the line is empty", "remove it"
    elif isinstance(error, json.JSONDecodeError):
        problem = f"the line is not JSON ({error.msg} at character {error.pos + 1})"
    else:
        problem = f"the line cannot be parsed ({error})"
    return NotARecord(path, line, None, problem, remedy)


def json_type(value: object) -> str:
    """The JSON name of a parsed value's type."""
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array"}
    return "null" if value is None else names.get(type(value), "object")
