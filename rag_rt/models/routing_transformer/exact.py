"""`exact` decoding, without computing again what provably cannot change.

The official program computes the whole zero-filled sequence anew for each token. Between two calls
ids change from some position on, here called `start`. Layers of local heads are causal, so their
states before `start` stay. In a routing layer a position may enter or leave a window anywhere, so
states stay up to the first place where a window differs. Of the last layer only the positions that
are asked for are computed.

Glossary as in `rag_rt.attention`; E hidden size, T positions asked for.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from rag_rt.models.routing_transformer.configuration import RoutingTransformerConfig
from rag_rt.models.routing_transformer.heads import LocalHeads, Memory
from rag_rt.models.routing_transformer.layers import Attention


class ExactCache:
    """What the layers computed of the sequence that they read last.

    Sequences are compared by what they hold, so that any rows may follow any others.
    """

    is_compileable = False  # transformers asks

    def __init__(self, config: RoutingTransformerConfig) -> None:
        self.tokens = 0  # of the texts that were read last, padding included
        self._block = config.query_shape
        self._ids: Tensor | None = None  # (B, L)
        self._layers = [_LayerMemory(self._block) for _ in range(config.num_decoder_layers)]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The number of tokens read, as transformers asks for it."""
        return self.tokens

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Nothing to do for rows in another order, as of beam search: they are compared."""

    def start(self, ids: Tensor, asked: Tensor) -> int:
        """The first position to compute: one that changed or is asked for; a block's first.

        Args:
            ids: (B, L), what the decoder reads.
            asked: (B, T), positions.
        """
        before, self._ids = self._ids, ids
        if before is None or before.shape != ids.shape:
            return 0
        changed = (before != ids).any(0).nonzero()
        first = min(int(x.min()) for x in (changed, asked) if len(x))
        return first // self._block * self._block

    def decode(
        self, layers: nn.ModuleList, x: Tensor, start: int, first: Tensor | None, asked: Tensor
    ) -> Tensor:
        """Run the decoder's layers.

        Args:
            layers: the decoder's.
            x: (B, L-start, E), the input of the first layer from `start` on.
            start: as `start` gives it.
            first: (B, L), where an equal position stands first; None: all differ.
            asked: (B, T), the positions to compute.

        Returns:
            (B, T, E).
        """
        last = len(layers) - 1
        for number, (layer, memory) in enumerate(zip(layers, self._layers, strict=True)):
            own = Memory(first=first if number == 0 else None)
            x, start = memory.extend(layer, x, start, own, asked if number == last else None)
        return x


class _LayerMemory:
    """Of one layer: keys and values, and where windows can move, all that its output is made of."""

    def __init__(self, block: int) -> None:
        self._block = block
        self._keys: Tensor | None = None  # (B, H, L, D)
        self._values: Tensor | None = None
        self._queries: Tensor | None = None
        self._input: Tensor | None = None  # (B, L, E)
        self._windows: Tensor | None = None  # (B, H, C, W)

    def extend(
        self, layer: Any, x: Tensor, start: int, own: Memory, asked: Tensor | None
    ) -> tuple[Tensor, int]:
        """The layer's output from a position on, which may lie before `start`, and that position.

        With `asked`, the output of these positions alone, (B, T, E).
        """
        part: Any = layer.self_attention
        attention: Attention = part.body
        before = part.before(x)
        q, k, v = attention.projected(before, before)
        self._keys = keys = _replaced(self._keys, k, start, 2)
        self._values = values = _replaced(self._values, v, start, 2)
        outputs: list[Tensor] = []
        routing_heads = 0
        if (routing := attention.routing) is not None:
            routing_heads = routing.heads
            self._queries = queries = _replaced(self._queries, q, start, 2)
            self._input = _replaced(self._input, x, start, 1)
            routed = routing(*(heads[:, :routing_heads] for heads in (queries, keys, values)), own)
            start = self._first_moved(routed.query_windows, start)
            outputs.append(routed.out[:, :, start:])
            q, x = queries[:, :, start:], self._input[:, start:]
        if (local := attention.local) is not None:
            q, k, v = (heads[:, routing_heads:] for heads in (q, keys, values))
            outputs.append(_local(local, q, k, v, start))
        out = torch.cat(outputs, 1)
        if asked is not None:
            rows = (asked - start).unsqueeze(-1)
            out, x = out.take_along_dim(rows.unsqueeze(1), 2), x.take_along_dim(rows, 1)
        x = part.after(attention.merged(out), x)
        part = layer.feed_forward
        return part.after(part.body(part.before(x)), x), start

    def _first_moved(self, windows: Tensor, start: int) -> int:
        """The block's first position before which nothing changed, `start` or an earlier one."""
        before, self._windows = self._windows, windows
        if before is None or before.shape != windows.shape:
            return 0
        moved = torch.minimum(before, windows)[before != windows]
        return min(start, int(moved.min()) // self._block * self._block) if len(moved) else start


def _replaced(kept: Tensor | None, new: Tensor, start: int, axis: int) -> Tensor:
    """What was kept, with `new` from `start` on."""
    if kept is None or start == 0:
        return new
    kept.narrow(axis, start, new.shape[axis]).copy_(new)
    return kept


def _local(heads: LocalHeads, q: Tensor, k: Tensor, v: Tensor, start: int) -> Tensor:
    """Attention of the blocks from `start` on: q (B, H, L-start, D), k and v (B, H, L, D)."""
    lacking = max(0, heads.flange - start)
    k, v = (pad(x[:, :, max(0, start - heads.flange) :], (0, 0, lacking, 0)) for x in (k, v))
    return heads.blocks(q, k, v)
