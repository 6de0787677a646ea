"""Vectors on disk: one array in numpy's format, written block by block and never held in memory."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retriever.artefacts import atomic_write
from retriever.errors import EncoderError


class VectorFile:
    """An array (N, D) that is being written in order; it goes on where it was stopped.

    How far it is stands in a file beside it, which is written only once the vectors are on the
    disk, and is gone once they are all there.
    """

    def __init__(self, path: Path, count: int, dtype: npt.DTypeLike) -> None:
        self._path = path
        self._count = count
        self._dtype = np.dtype(dtype)
        self._marker = path.with_name(f"{path.name}.done")
        self.done = self._done_before()
        """Vectors that are written."""

    def append(self, vectors: npt.NDArray[np.floating[Any]]) -> None:
        """Write the next vectors, and make sure that they stay.

        Raises:
            EncoderError: a number is not finite, or too great for the precision of the file.
        """
        with np.errstate(over="ignore"):
            block = np.ascontiguousarray(vectors, dtype=self._dtype)
        if not np.isfinite(block).all():
            raise EncoderError(
                f"the vector of a passage between {self.done:,} and {self.done + len(block):,} "
                f"holds what is no number in {self._dtype}; the encoder's weights are damaged, or "
                "overflow in its precision"
            )
        if not self.done:
            self._begin(block.shape[1])
        with self._path.open("r+b") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            file.seek(self.done * block.strides[0], os.SEEK_CUR)
            file.write(block.data)
            file.flush()
            os.fsync(file.fileno())
        self.done += len(block)
        with atomic_write(self._marker) as marker:
            marker.write(json.dumps(self.done).encode())

    def finish(self) -> None:
        """Say that it is whole."""
        assert self.done == self._count
        self._marker.unlink(missing_ok=True)

    def _done_before(self) -> int:
        if self._marker.is_file():
            return int(json.loads(self._marker.read_bytes()))
        return self._count if self._path.is_file() else 0

    def _begin(self, dimension: int) -> None:
        shape = (self._count, dimension)
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        with atomic_write(self._marker) as marker:  # before the file, which without it is whole
            marker.write(b"0")
        with self._path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
