"""A pretrained Llama-family decoder by our own forward pass, its attention dense or routed."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from rag_rt.attention.routed_keys import Routing
from rag_rt.models.routed_decoder import attending, kernels, layout
from rag_rt.models.routed_decoder.compiling import threads, use_threads
from rag_rt.models.routed_decoder.configuration import DecoderConfig
from rag_rt.models.routed_decoder.packing import Precision, were_four_bits
from rag_rt.models.routed_decoder.reading import read_slice
from rag_rt.models.routed_decoder.rows import CachedRow
from rag_rt.models.routed_decoder.scratch import StepScratch, read_scratch
from rag_rt.models.routed_decoder.vectors import LANES, TILE
from rag_rt.models.routed_decoder.weights import load_weights

_NEVER = 1 << 62
# From here on an answer of some 110 tokens is written faster by routed attention, the clustering of
# the prompt included (benchmarks/routing_crossover.py); a token alone is from 3,072 on.
CROSSOVER = 4096


class RoutedDecoder:
    """Reads and writes rows; see `rag_rt.models.decoding.Decoder`.

    What `step` computes for a token does not depend on what else is in the call, to the last bit.
    Not thread-safe: one call at a time.
    """

    exact = True

    def __init__(
        self,
        model: PreTrainedModel,
        config: DecoderConfig,
        precision: Precision,
        routing: Routing | None = None,
        *,
        written_dense_below: int = 0,
        read_dense_below: int = 0,
    ) -> None:
        """Take over a model's weights.

        Args:
            model: can be thrown away after.
            config: its sizes, from `DecoderConfig.of`.
            precision: of the weights while writing. Prompts are read in float32 or bfloat16.
            routing: which keys are read; None reads all.
            written_dense_below: tokens at positions before this one see all keys in `step`.
            read_dense_below: the same in `read`. Where the two differ, a text that is read and the
                same text written give different logits.

        Raises:
            ValueError: the routing does not cut the keys into tiles.
        """
        if routing is not None and (
            routing.cluster != TILE
            or any(n % TILE for n in (routing.sinks, routing.block, routing.budget))
        ):
            raise ValueError(
                f"the kernels read clusters of {TILE} keys, and sinks, blocks and budgets that are "
                f"multiples of it; found {routing}"
            )
        self.config = config
        self.precision: str = precision
        self.vocabulary = config.vocabulary
        self.context = config.context
        self._weights = load_weights(model, config, precision)
        self._routing = routing
        self._written_dense_below = written_dense_below if routing else _NEVER
        # A budget for all keys chooses nothing.
        self._read_dense_below = max(read_dense_below, routing.budget) if routing else _NEVER
        self._dtype = torch.float32 if precision == "float32" else torch.bfloat16
        self._kv = np.empty(0, np.float32 if precision == "float32" else np.uint16)
        self._group = (0,) * (config.heads // config.kv_heads)
        self._width = (0,) * (config.head_size // LANES)
        self._scratch = StepScratch(config)

    @classmethod
    def of(cls, model: PreTrainedModel, precision: Precision | None = None) -> Self | None:
        """A decoder for fast answers; None for models that we do not run.

        Texts are read by dense attention, which is faster up to 8,192 tokens; tokens are written by
        routed attention from where that is faster.

        Args:
            model: a causal language model of transformers.
            precision: of the weights; None takes 4 bits where they had no more before, else 8.
        """
        config = DecoderConfig.of(model.config)
        if config is None:
            return None
        if precision is None:
            first: Any = model.get_decoder().layers[0]  # type: ignore[no-untyped-call]
            precision = "int4" if were_four_bits(first.self_attn.q_proj.weight.detach()) else "int8"
        made = cls(
            model,
            config,
            precision,
            Routing(),
            written_dense_below=CROSSOVER,
            read_dense_below=_NEVER,
        )
        made.warm_up()
        return made

    def warm_up(self) -> None:
        """Compile all that is run, or find what was compiled before, so that no answer waits."""
        row, size = self.open_row(LANES), self.config.head_size
        self.read(row, [0])
        self.step([(row, [0])])
        self._read_routed(
            row,
            read_scratch(self.config, row, self._threads),
            torch.zeros(1, self.config.heads, size),
            0,
        )
        small = Routing(budget=TILE, block=TILE, sinks=0)
        CachedRow(self.config, LANES, self._dtype, small).advance(TILE)

    def open_row(self, capacity: int) -> CachedRow:
        """An empty row with room for `capacity` tokens; clusters are made where it is routed."""
        routed_from = min(self._written_dense_below, self._read_dense_below)
        routing = self._routing if capacity > routed_from else None
        return CachedRow(self.config, capacity, self._dtype, routing)

    @torch.inference_mode()
    def read(self, row: CachedRow, ids: Sequence[int]) -> Tensor:
        """Append a slice of a text; float32 logits (V,) after its last token."""
        unread = torch.tensor(ids)
        while len(unread):
            dense = row.length + len(unread) <= self._read_dense_below
            room = len(unread) if dense else row.room_before_clustering
            piece, unread = unread[:room], unread[room:]
            routed = None
            if row.length + len(piece) > self._read_dense_below:
                scratch = read_scratch(self.config, row, self._threads)
                routed = partial(self._read_routed, row, scratch)
            hidden = read_slice(self._weights, self.config, row, piece, routed)
        return self._logits(hidden)

    @torch.inference_mode()
    def step(self, rows: Sequence[tuple[CachedRow, Sequence[int]]]) -> list[Tensor]:
        """Append a few tokens to each row; float32 logits (n, V) after each of them."""
        logits: list[list[Tensor]] = [[] for _ in rows]
        waiting = [(number, row, list(ids)) for number, (row, ids) in enumerate(rows)]
        while waiting:  # again only where tokens go on beyond a block that must be clustered first
            now = [(number, row, ids[: row.room_before_clustering]) for number, row, ids in waiting]
            later = [
                (number, row, ids[row.room_before_clustering :]) for number, row, ids in waiting
            ]
            found = self._step([(row, ids) for _, row, ids in now])
            for (number, row, ids), part in zip(
                now, torch.split(found, [len(ids) for *_, ids in now]), strict=True
            ):
                row.advance(len(ids))
                logits[number].append(part)
            waiting = [(number, row, ids) for number, row, ids in later if ids]
        return [parts[0] if len(parts) == 1 else torch.cat(parts) for parts in logits]

    @property
    def _threads(self) -> int:
        return threads()

    def _shape(self) -> layout.Shape:
        c = self.config
        return layout.Shape(c.heads, c.kv_heads, c.inner, c.epsilon, self._threads)

    def _selection(self, dense_below: int) -> layout.Selection:
        routing = self._routing or Routing()
        return layout.Selection(
            sink_tiles=routing.sinks // TILE,
            block_tiles=routing.block // TILE,
            budget_tiles=routing.budget // TILE,
            spread=routing.spread,
            dense_below=dense_below,
        )

    def _step(self, rows: Sequence[tuple[CachedRow, list[int]]]) -> Tensor:
        """Logits (M, V) of the tokens of all rows, one after another."""
        ids = [token for _, tokens in rows for token in tokens]
        hidden = self._weights.embeddings[ids].float().numpy()
        padded = -(-self.vocabulary // LANES) * LANES
        logits = torch.empty(len(ids), padded)
        x, scratch = self._scratch.for_step(
            len(ids), max(row.capacity for row, _ in rows), self._threads
        )
        use_threads(self._threads)
        kernels.step(
            hidden,
            logits.numpy(),
            self._weights.packed,
            _lanes(rows),
            self._kv,
            self._group,
            self._width,
            self._shape(),
            self._selection(self._written_dense_below),
            x,
            scratch,
        )
        return logits[:, : self.vocabulary]

    def _read_routed(
        self, row: CachedRow, scratch: layout.ReadScratch, q: Tensor, layer: int
    ) -> Tensor:
        queries = q.flatten(1).contiguous().numpy()
        out = torch.empty(queries.shape)
        use_threads(self._threads)
        attending.read_routed(
            queries,
            out.numpy(),
            row.length,
            layer,
            self._group,
            self._width,
            self._shape(),
            self._selection(self._read_dense_below),
            _lanes([(row, [0])]),
            self._kv,
            *scratch,
        )
        return out

    def _logits(self, hidden: Tensor) -> Tensor:
        """Logits (V,) of a hidden state (H,), by the kernel that writing uses too."""
        logits = torch.empty(1, -(-self.vocabulary // LANES) * LANES)
        x, _ = self._scratch.for_step(1, LANES, self._threads)
        use_threads(self._threads)
        kernels.head(hidden.float().numpy(), logits.numpy(), self._weights.packed, self._shape(), x)
        return logits[0, : self.vocabulary]


def _lanes(rows: Sequence[tuple[CachedRow, Sequence[int]]]) -> layout.Lanes:
    counts = [len(ids) for _, ids in rows]

    def spread(numbers: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.repeat(np.array(numbers, dtype=np.int64), counts)

    offsets = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])
    return layout.Lanes(
        position=spread([row.length for row, _ in rows]) + offsets,
        tiles=spread([row.capacity // TILE for row, _ in rows]),
        keys_at=spread([row.keys.data_ptr() for row, _ in rows]),
        values_at=spread([row.values.data_ptr() for row, _ in rows]),
        clusters_at=spread([row.clusters.data_ptr() for row, _ in rows]),
    )
