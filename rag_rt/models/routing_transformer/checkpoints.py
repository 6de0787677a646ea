"""Variables of a TensorFlow program, read one by one."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from rag_rt.models.routing_transformer.errors import CheckpointError


class Variables(Protocol):
    """Named arrays: their shapes at once, their values one at a time."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each variable."""

    def read(self, name: str) -> NDArray[Any]:
        """The value of a variable."""


class TensorFlowCheckpoint:
    """A checkpoint as TensorFlow 1 writes it: `model.ckpt-100000.index` and `.data-…`."""

    def __init__(self, prefix: Path | str) -> None:
        """Open a checkpoint.

        Args:
            prefix: the path without `.index`, for example `model.ckpt-100000`.

        Raises:
            CheckpointError: there is no such checkpoint, or TensorFlow is not installed.
        """
        path = Path(prefix)
        if not path.with_name(f"{path.name}.index").is_file():
            raise CheckpointError(
                f"there is no checkpoint {path}: {path.name}.index is missing; name the path "
                "without its ending, for example model.ckpt-100000"
            )
        try:
            train: Any = import_module("tensorflow").train
        except ImportError as error:
            raise CheckpointError(
                "reading a TensorFlow checkpoint needs TensorFlow; install it with "
                "pip install 'rag-rt[tf]'"
            ) from error
        try:
            self._reader = train.load_checkpoint(str(path))
        except Exception as error:  # TensorFlow's own tree, which is not imported for this alone
            raise CheckpointError(f"cannot read the checkpoint {path}: {error}") from error
        self.shapes: Mapping[str, tuple[int, ...]] = {
            name: tuple(shape) for name, shape in self._reader.get_variable_to_shape_map().items()
        }

    def read(self, name: str) -> NDArray[Any]:
        """The value of a variable."""
        value: NDArray[Any] = self._reader.get_tensor(name)
        return value


class NumpyVariables:
    """Variables in a `.npz` file, or in memory."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = arrays
        self.shapes: Mapping[str, tuple[int, ...]] = {
            name: array.shape for name, array in arrays.items()
        }

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a `.npz` file."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(dict(arrays))

    def read(self, name: str) -> NDArray[Any]:
        """The value of a variable."""
        return self._arrays[name]
