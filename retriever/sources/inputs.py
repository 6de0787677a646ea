"""Where a corpus's bytes come from: files and standard input, decompressed on the way."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from retriever.errors import SourceError
from retriever.sources.records import LONGEST

STDIN = "-"
_BUFFER = 1 << 16
_HEAD = 1 << 18
_STEP = 1 << 13  # bytes decompressed at a time; zstandard's last ones before a cut are lost

_UNREADABLE = (EOFError, OSError, lzma.LZMAError, zlib.error, tarfile.TarError, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class Input:
    """Bytes that can be read from their beginning any number of times, one reader at a time."""

    name: str
    fingerprint: str
    open: Callable[[], io.BufferedReader]

    @property
    def label(self) -> str:
        """The name without its folder, which may change while the corpus stays the same."""
        return Path(self.name).name


def named_input(path: str) -> Input:
    """A file, or standard input where `path` is '-'.

    Raises:
        SourceError: there is no such file, or standard input is a terminal.
    """
    if path == STDIN:
        file, digest = _spooled()
        return Input("standard input", f"sha256:{digest}", lambda: _reopened(file))
    return file_input(Path(path))


def file_input(path: Path) -> Input:
    """A file; its fingerprint is name, size and time of change, since it may be too large to hash.

    Raises:
        SourceError: there is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}; name a file") from error
    fingerprint = f"{path.name}:{status.st_size}:{status.st_mtime_ns}"
    return Input(str(path), fingerprint, lambda: io.BufferedReader(io.FileIO(path), _BUFFER))


@cache  # a pipe can be read once
def _spooled() -> tuple[IO[bytes], str]:
    """Standard input in a temporary file, and its digest.

    An index is known by what it was built from, and a stopped build goes on only with the same
    corpus; a pipe says what it holds only when all of it was read.
    """
    if sys.stdin.isatty():
        raise SourceError("'-' reads a corpus from a pipe, and standard input is a terminal")
    file = tempfile.TemporaryFile(prefix="rag-rt-")  # noqa: SIM115 - lives as long as the process
    digest = hashlib.sha256()
    while chunk := sys.stdin.buffer.read(_BUFFER):
        file.write(chunk)
        digest.update(chunk)
    file.flush()
    return file, digest.hexdigest()


def _reopened(file: IO[bytes]) -> io.BufferedReader:
    reader = io.FileIO(os.dup(file.fileno()))
    reader.seek(0)
    return io.BufferedReader(reader, _BUFFER)


@contextmanager
def reading(source: Input) -> Iterator[io.BufferedReader]:
    """The decompressed bytes of an input.

    Raises:
        SourceError: it cannot be read, or its archive is cut short or damaged; everything before
            that was given.
    """
    try:
        with source.open() as raw, decompressed(raw) as stream:
            yield stream
    except _UNREADABLE as error:
        raise SourceError(
            f"{source.name} cannot be read to its end, it is cut short or damaged ({error}); "
            "fetch it again"
        ) from error


def decompressed(raw: io.BufferedReader) -> io.BufferedReader:
    """Bytes without their compression, which is known by how they begin."""
    magic = raw.peek(8)
    if magic.startswith(b"\x1f\x8b"):
        return _buffered(gzip.GzipFile(fileobj=raw))
    if magic.startswith(b"BZh"):
        return _buffered(bz2.BZ2File(raw))
    if magic.startswith(b"\xfd7zXZ\x00"):
        return _buffered(lzma.LZMAFile(raw))
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return _buffered(pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
    return raw


class _AsItComes(io.RawIOBase):
    """A stream that gives what it has, and its error only then: full buffers would lose both."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read1(min(len(buffer), _STEP))
        buffer[: len(content)] = content
        return len(content)


def _buffered(stream: Any) -> io.BufferedReader:
    return io.BufferedReader(_AsItComes(stream), _BUFFER)


def head(source: Input) -> bytes:
    """The first bytes of an input, to tell what it is; fewer where it cannot be read so far."""
    content = bytearray()
    with suppress(SourceError), reading(source) as stream:
        while len(content) < _HEAD and (piece := stream.read1(_HEAD)):
            content += piece
    return bytes(content)


def lines(stream: io.BufferedReader) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their numbers, from 1; None stands for one that is too long to be held.

    Raises the errors of reading a damaged archive, which `reading` names.
    """
    number = 0
    while line := stream.readline(LONGEST + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # a byte order mark, as Windows writes it
        if len(line) <= LONGEST:
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(_BUFFER)
        yield number, None
