"""Any causal language model of transformers as a `Decoder` (see `decoding`)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from rag_rt.errors import GeneratorError


class CachedRow:
    """A sequence in transformers' cache, which grows as it is written to."""

    def __init__(self, cache: DynamicCache, capacity: int) -> None:
        self.cache = cache
        self.capacity = capacity
        self.length = 0

    def truncate(self, length: int) -> None:
        """See `Row`."""
        if length < self.length:
            self.cache.crop(length - self.length)  # a negative number: how many to remove
            self.length = length


class TransformersDecoder:
    """Runs the model's own forward pass, one row after another."""

    exact = False  # matrix products of other shapes add up in another order

    def __init__(self, model: PreTrainedModel) -> None:
        """Wrap a model.

        Args:
            model: a causal language model in evaluation mode.

        Raises:
            GeneratorError: the model keeps a running state, from which no token can be taken back.
        """
        self._model = model
        self.precision = str(model.dtype).removeprefix("torch.")
        self.vocabulary: int = model.config.get_text_config().vocab_size
        self.context: int = model.config.get_text_config().max_position_embeddings
        kinds = {type(layer).__name__ for layer in self._cache().layers if not layer.is_croppable}
        if kinds:
            raise GeneratorError(
                f"a model of type '{model.config.model_type}' cannot write here: tokens cannot be "
                f"taken back from its cache ({', '.join(sorted(kinds))}); name a model with "
                "attention alone (RAG_RT_GENERATOR)"
            )

    def open_row(self, capacity: int) -> CachedRow:
        """See `Decoder`."""
        return CachedRow(self._cache(), capacity)

    def read(self, row: CachedRow, ids: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        return self._append(row, ids, logits_to_keep=1)[-1]

    def step(self, rows: Sequence[tuple[CachedRow, Sequence[int]]]) -> list[Tensor]:
        """See `Decoder`."""
        return [self._append(row, ids, logits_to_keep=len(ids)) for row, ids in rows]

    @torch.inference_mode()
    def _append(self, row: CachedRow, ids: Sequence[int], logits_to_keep: int) -> Tensor:
        output = self._model(
            input_ids=torch.tensor([ids]),
            past_key_values=row.cache,
            logits_to_keep=logits_to_keep,
        )
        row.length += len(ids)
        logits: Tensor = output.logits[0].float()
        return logits

    def _cache(self) -> DynamicCache:
        cache = DynamicCache(config=self._model.config)
        # Keys outside a sliding window are kept, though masked: after a truncation they are inside.
        full: Any = DynamicLayer
        cache.layers = [
            full() if isinstance(layer, DynamicSlidingWindowLayer) else layer
            for layer in cache.layers
        ]
        return cache
