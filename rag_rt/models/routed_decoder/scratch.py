"""Room that the kernels compute in, kept between calls and grown where it does not suffice."""

import numpy as np

from rag_rt.models.routed_decoder.configuration import DecoderConfig
from rag_rt.models.routed_decoder.layout import PART, Floats, Input, ReadScratch, Scratch
from rag_rt.models.routed_decoder.rows import CachedRow
from rag_rt.models.routed_decoder.vectors import GROUP, LANES, TILE


class StepScratch:
    """The arrays of a step."""

    def __init__(self, config: DecoderConfig) -> None:
        self._config = config
        self._size = (0, 0, 0)
        self._made: tuple[Input, Scratch] | None = None

    def for_step(self, rows: int, capacity: int, threads: int) -> tuple[Input, Scratch]:
        """Arrays for at least so many lanes, whose rows hold at most `capacity` tokens."""
        wanted = (rows, capacity, threads)
        if self._made is None or any(w > have for w, have in zip(wanted, self._size, strict=True)):
            self._size = tuple(map(max, wanted, self._size))  # type: ignore[assignment]
            self._made = self._make(*self._size)
        return self._made

    def _make(self, rows: int, capacity: int, threads: int) -> tuple[Input, Scratch]:
        c = self._config
        group, tiles = c.heads // c.kv_heads, capacity // TILE
        widest = max(c.hidden, c.inner, c.heads * c.head_size)
        outputs = max(2 * c.inner, (c.heads + 2 * c.kv_heads) * c.head_size, c.hidden)
        heads = rows * c.kv_heads
        items = heads * -(-tiles // PART)
        x = Input(
            floats=_floats(rows * widest),
            levels=np.empty(rows * widest, np.int8),
            scale=_floats(rows * widest // GROUP),
            sum=np.empty(rows * widest // GROUP, np.int32),
        )
        return x, Scratch(
            y=_floats(rows * outputs),
            attended=_floats(rows * c.heads * c.head_size),
            listed=np.empty((heads, tiles + 3), np.int32),
            counts=np.empty(heads, np.int64),
            items=np.empty((items, 2), np.int64),
            scores=_floats(threads, group * PART * TILE),
            asked=_floats(heads * group * 2 * c.head_size),
            spread=_floats(heads * group * 4 * c.head_size),
            cluster_scores=_floats(heads, _choosing(group, tiles)),
            partial=_floats(items, group * c.head_size),
            partial_max=_floats(items, group),
            partial_sum=_floats(items, group),
        )


def read_scratch(config: DecoderConfig, row: CachedRow, threads: int) -> ReadScratch:
    """The arrays with which a slice of a row is read by routed attention."""
    group, tiles = config.heads // config.kv_heads, row.capacity // TILE
    return ReadScratch(
        listed=np.empty((threads, tiles + 3), np.int32),
        scores=_floats(threads, max(group * (tiles + 3) * TILE, _choosing(group, tiles))),
        asked=_floats(threads, group * 2 * config.head_size),
        spread=_floats(threads, group * 4 * config.head_size),
        largest=_floats(threads, group),
        total=_floats(threads, group),
    )


def _choosing(group: int, tiles: int) -> int:
    """Numbers that the choice among as many clusters as there are tiles takes."""
    return (group + 1) * -(-tiles // LANES) * LANES


def _floats(*shape: int) -> Floats:
    return np.empty(shape, np.float32)
