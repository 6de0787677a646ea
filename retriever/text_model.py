"""One model of a transformer encoder with its tokenizer: texts to vectors, in batches.

Texts whose number of tokens lies in the same sixteen share a batch. So little is computed for
padding, a text is padded alike whatever stands beside it, and there are few shapes: oneDNN makes
kernels for each and keeps them.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retriever.bert import PackedBert, is_packable
from retriever.vectors import Progress as Progress
from retriever.vectors import Vectors as Vectors

Pool = Callable[[Tensor, Tensor], Tensor]
"""From the last states (B, T, D) and what is no padding (B, T) to vectors (B, P), float32."""

STEP = 16  # attention over 112 or 128 tokens takes 1.6 µs a token, over those between 2.3 to 3.7
BATCH_TOKENS = 4096  # 154 passages a second, against 142 at 2,048 and 120 at 1,024 (one core)
WINDOW = 1024  # texts tokenized together: their ids take memory


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts that are computed together: B of at most T tokens."""

    rows: list[int]
    """(B) places among the texts that were given."""
    ids: Tensor
    """(B, T) numbers in the vocabulary, 0 on padding."""
    kept: Tensor
    """(B, T) False on padding."""
    types: Tensor | None
    """(B, T) of segments; None where the model is not told."""


class TextModel:
    """A model with its tokenizer, on a CPU or a GPU."""

    def __init__(self, model: Any, tokenizer: Any, max_tokens: int, *, typed: bool = False) -> None:
        """Take over a model.

        Args:
            model: of transformers; on a CPU its layers are kept in another layout where they can.
            tokenizer: its own.
            max_tokens: of a text, special ones included; what lies beyond is cut off.
            typed: whether the model is told which segment a token is of.
        """
        longest = getattr(model.config, "max_position_embeddings", None) or max_tokens
        self.max_tokens = min(max_tokens, tokenizer.model_max_length, longest)
        self.tokenizer = tokenizer
        self._typed = typed
        packed = model.device.type == "cpu" and is_packable(model)
        self._states = (PackedBert(model) if packed else _TransformersModel(model)).states

    def encode(
        self,
        segments: Sequence[Sequence[str]],
        pool: Pool,
        dimension: int,
        progress: Progress | None = None,
    ) -> Vectors:
        """Vectors (N, P), float32, in the order of the texts.

        Args:
            segments: the N texts; or their N first and N second segments.
            pool: makes vectors of the last hidden states.
            dimension: P.
            progress: called after each batch.
        """
        vectors = np.empty((len(segments[0]), dimension), dtype=np.float32)
        done = 0
        for batch in self.batches(segments):
            with torch.inference_mode():
                last = deque(self.states(batch), maxlen=1)[0]
                vectors[batch.rows] = pool(last, batch.kept.to(last.device)).cpu().numpy()
            done += len(batch.rows)
            if progress is not None:
                progress(done, len(vectors))
        return vectors

    def states(self, batch: Batch) -> Iterator[Tensor]:
        """Hidden states (B, T, D): of the embeddings, then of each layer."""
        return self._states(batch.ids, batch.kept, batch.types)

    def batches(self, segments: Sequence[Sequence[str]]) -> Iterator[Batch]:
        """The texts, each in one batch; those of like length together, the longest first."""
        for first in range(0, len(segments[0]), WINDOW):
            window = [list(texts[first : first + WINDOW]) for texts in segments]
            found = self.tokenizer(
                *window,
                truncation=True,
                max_length=self.max_tokens,
                return_token_type_ids=self._typed,
            )
            for rows in self._grouped(list(map(len, found["input_ids"]))):
                ids, kept = _padded([found["input_ids"][row] for row in rows], self.max_tokens)
                types = None
                if self._typed:
                    segments_of = [found["token_type_ids"][row] for row in rows]
                    types, _ = _padded(segments_of, self.max_tokens)
                yield Batch([first + row for row in rows], ids, kept, types)

    def _grouped(self, lengths: list[int]) -> Iterator[list[int]]:
        groups: dict[int, list[int]] = {}
        for row, length in enumerate(lengths):
            groups.setdefault(_room(length, self.max_tokens), []).append(row)
        for room, rows in sorted(groups.items(), reverse=True):
            first = 0
            while first < len(rows):
                size = _size(len(rows) - first, max(1, BATCH_TOKENS // room))
                yield rows[first : first + size]
                first += size


class _TransformersModel:
    """The forward pass of transformers, on the model's device."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def states(self, ids: Tensor, kept: Tensor, types: Tensor | None) -> Iterator[Tensor]:
        """See `PackedBert.states`."""
        inputs = {"input_ids": ids, "attention_mask": kept.long()}
        if types is not None:
            inputs["token_type_ids"] = types
        on_device = {name: tensor.to(self._model.device) for name, tensor in inputs.items()}
        output = self._model(**on_device, output_hidden_states=True)
        yield from output.hidden_states[:-1]
        yield output.last_hidden_state


def mean(states: Tensor, kept: Tensor) -> Tensor:
    """Of the states (B, T, D) that are no padding: (B, D), float32."""
    weights = kept.unsqueeze(-1).float()  # (B, T, 1)
    return (states.float() * weights).sum(1) / weights.sum(1).clamp(min=1)


def first_state(states: Tensor, kept: Tensor) -> Tensor:
    """The state of [CLS] (B, D), float32."""
    return states[:, 0].float()


def _size(left: int, most: int) -> int:
    """Texts of the next batch: as many as may, or else a power of two, for few shapes."""
    return most if left >= most else 1 << (left.bit_length() - 1)


def _room(length: int, longest: int) -> int:
    return min(-(-length // STEP) * STEP, longest)


def _padded(rows: list[list[int]], longest: int) -> tuple[Tensor, Tensor]:
    """Rows as a tensor (B, T), and where it is no padding."""
    lengths = np.array(list(map(len, rows)))
    kept = np.arange(_room(int(lengths.max()), longest)) < lengths[:, None]
    padded = np.zeros(kept.shape, dtype=np.int64)
    padded[kept] = np.concatenate(rows)
    return torch.from_numpy(padded), torch.from_numpy(kept)
