"""Exact vectors on disk, read by rows, and their inner products with queries.

Rows are read with `pread` and not through a memory map: nothing stays mapped, so the memory of a
search does not depend on what was searched before, and a failing disk is an error, not a signal.
"""

import os
import weakref
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retriever.errors import ArtefactDamaged, IndexingError

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

READ_AHEAD = 64  # rows in random order from which asking the disk for all at once pays


class ExactVectors:
    """A `vectors.npy` (N, D) of float16 or float32."""

    def __init__(self, path: Path) -> None:
        """Open the file; its rows stay on disk.

        Raises:
            ArtefactDamaged: it is missing, cut off, or holds anything but such vectors.
        """
        self.path = path
        try:
            with path.open("rb") as file:
                if np.lib.format.read_magic(file) != (1, 0):
                    raise ValueError("of another version of numpy's format")
                shape, fortran, self.dtype = np.lib.format.read_array_header_1_0(file)
                self._begin = file.tell()
            self.count, self.dimension = shape
        except (OSError, ValueError) as error:
            raise ArtefactDamaged(f"{path} cannot be read as vectors: {error}") from None
        if fortran or self.dtype not in (np.dtype("<f2"), np.dtype("<f4")):
            raise ArtefactDamaged(f"{path} holds {self.dtype}; vectors are float16 or float32 rows")
        self.row_bytes = self.dimension * self.dtype.itemsize
        expected = self._begin + self.count * self.row_bytes
        if path.stat().st_size != expected:
            raise ArtefactDamaged(
                f"{path} is {path.stat().st_size:,} bytes long; its {self.count:,} vectors "
                f"take {expected:,}"
            )
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return self.count

    def views(self, size: int) -> Iterator[tuple[int, Vectors]]:
        """First row and vectors of each block of `size` rows, for a scan of all.

        Vectors of float32 are mapped, and so stay in memory as long as the system has room.
        """
        if not self.count:
            return
        mapped = self._map if self.dtype == np.float32 else None
        for first in range(0, self.count, size):
            if mapped is None:
                yield first, self.block(first, first + size)
            else:
                yield first, mapped[first : first + size]

    @cached_property
    def _map(self) -> Vectors:
        with open(self._file, "rb", closefd=False) as file:  # the path may hold another one by now
            return np.memmap(file, self.dtype, "r", self._begin, (self.count, self.dimension))

    def block(self, first: int, end: int) -> Vectors:
        """Rows `first` to `end` (n, D), as float32."""
        raw = np.empty((min(end, self.count) - first, self.dimension), self.dtype)
        self._read(_bytes_of(raw), first)
        return raw.astype(np.float32, copy=False)

    def finite_block(self, first: int, end: int) -> Vectors:
        """`block`, refused where a number is infinite or none.

        Raises:
            IndexingError: a vector is not finite; the message names its row.
        """
        block = self.block(first, end)
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = first + int(np.argmin(finite))
            raise IndexingError(
                f"vector {row} of {self.path.name} holds NaN or infinity; vectors must be finite: "
                "the encoder failed on that passage, or its vectors are too long for float16"
            )
        return block

    def blocks(self, size: int) -> Iterator[tuple[int, Vectors]]:
        """First row and finite vectors of each block of `size` rows."""
        for first in range(0, self.count, size):
            yield first, self.finite_block(first, first + size)

    def take(self, rows: Rows) -> Vectors:
        """The vectors (n, D) of rows (n,), as float32."""
        raw = np.empty((len(rows), self.dimension), self.dtype)
        order = np.argsort(rows, kind="stable")
        if len(rows) >= READ_AHEAD:
            for row in rows[order].tolist():
                os.posix_fadvise(
                    self._file, self._offset(row), self.row_bytes, os.POSIX_FADV_WILLNEED
                )
        data, size = _bytes_of(raw), self.row_bytes
        for place, row in zip(order.tolist(), rows[order].tolist(), strict=True):
            self._read(data[place * size : (place + 1) * size], row)
        return raw.astype(np.float32, copy=False)

    def similarities(self, query: Vectors, rows: Rows) -> Vectors:
        """Inner products (n,) of a query (D,) with rows (n,).

        Each is computed by the same operations in the same order, whatever else is asked for.
        """
        products: Vectors = np.einsum("nd,d->n", self.take(rows), query)
        return products

    def _offset(self, row: int) -> int:
        return self._begin + row * self.row_bytes

    def _read(self, view: memoryview, first: int) -> None:
        """Fill a view with what begins at a row."""
        offset = self._offset(first)
        while view:
            read = os.preadv(self._file, [view], offset)
            if not read:
                raise ArtefactDamaged(f"{self.path} ends before byte {offset + len(view):,}")
            view, offset = view[read:], offset + read


def _bytes_of(array: npt.NDArray[np.floating]) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8).data)
