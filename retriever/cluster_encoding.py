"""Encoding passages on a Ray cluster, by Ray Data, in the order and the blocks of a build here.

Only the numbers of blocks go through Ray Data. Whoever encodes one fetches its passages from this
machine, so that no node needs the file; vectors come back in order and are appended to the build's
own file. A block whose node is lost is encoded again elsewhere before anything behind it is
written: each is in the file once, and a build that was stopped goes on from its last one.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import ray.data
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from retriever.cluster import connect
from retriever.errors import EncoderError
from retriever.parts import CHUNK
from retriever.passages import Passage, PassageStore
from retriever.vectors import DualEncoder, Vectors

CPUS = 1  # of a node for each encoder: as many as there are cores, each on one


class ClusterVectors:
    """Vectors of the passages of a build, block after block."""

    def __init__(
        self, passages: Path, encoder: DualEncoder, address: str, opened: Callable[[], DualEncoder]
    ) -> None:
        """Have a cluster encode, once the first block is asked for.

        Args:
            passages: the file, on this machine.
            encoder: whose vectors they are to be.
            address: see `retriever.cluster.connect`.
            opened: gives that encoder on any node.
        """
        self._passages = passages
        self._encoder = encoder
        self._address = address
        self._opened = opened
        self._blocks: Iterator[Vectors] | None = None

    def __call__(self, first: int) -> Vectors:
        """Vectors (N, D) of the `CHUNK` passages from one on; asked for in order.

        Raises:
            EncoderError: a node has no such encoder, or it fails.
            RetrieverError: the cluster cannot be reached.
        """
        if self._blocks is None:
            connect(self._address)
            self._blocks = self._encoded(first)
        return next(self._blocks)

    def _encoded(self, first: int) -> Iterator[Vectors]:
        count = len(PassageStore(self._passages))
        blocks = range(first, count, CHUNK)
        try:
            for expected, row in zip(blocks, self._rows(blocks), strict=True):
                assert row["first"] == expected
                vectors = np.frombuffer(row["vectors"], np.float32)
                yield vectors.reshape(-1, self._encoder.dimension)
        except RayError as error:
            raise EncoderError(
                f"encoding on the cluster at {self._address} failed: {error}; the same command "
                "goes on from the last finished block"
            ) from error

    def _rows(self, blocks: range) -> Iterator[Mapping[str, Any]]:
        feeder = _on_this_node(_Feeder).remote(str(self._passages))
        _configure()
        firsts = ray.data.range(len(blocks), override_num_blocks=len(blocks))
        encoders = max(1, int(ray.cluster_resources().get("CPU", 0) // CPUS))  # type: ignore[no-untyped-call]
        encoded = firsts.map_batches(
            _Encoding,
            fn_constructor_args=(self._opened, self._encoder.fingerprint, feeder, blocks.start),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=encoders),
            num_cpus=CPUS,
        )
        yield from encoded.iter_rows()


class _Feeder:
    """An actor on the machine of the build, which hands out passages."""

    def __init__(self, passages: str) -> None:
        self._store = PassageStore(Path(passages))

    def rows(self, first: int) -> list[Passage]:
        return self._store.rows(first, first + CHUNK)


class _Encoding:
    """An encoder on some node, which fetches the passages of a block."""

    def __init__(
        self, opened: Callable[[], DualEncoder], fingerprint: str, feeder: Any, start: int
    ) -> None:
        self._encoder = opened()
        if self._encoder.fingerprint != fingerprint:
            raise EncoderError(
                f"{self._encoder.name} has other weights on a node of the cluster than on the "
                "machine of the build; give all of them the same"
            )
        self._feeder = feeder
        self._start = start

    def __call__(self, batch: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        first = self._start + int(batch["id"][0]) * CHUNK
        passages = ray.get(self._feeder.rows.remote(first))
        vectors = np.ascontiguousarray(self._encoder.encode_passages(passages), np.float32)
        return {"first": np.array([first]), "vectors": np.array([vectors.tobytes()], dtype=object)}


def _on_this_node(kind: type) -> Any:
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(kind).options(num_cpus=0, scheduling_strategy=here)


def _configure() -> None:
    """Blocks in order, and nothing drawn or told: the build has its own progress."""
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
