"""How the official program chooses a token: nucleus, or top-k, then temperature (SPEC §6).

As logits processors for `generate`. They differ from transformers' own at the borders.
"""

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import TemperatureLogitsWarper

from rag_rt.models.routing_transformer.errors import InputError

DROPPED = torch.finfo(torch.float32).min  # -3.4028235e38


class OfficialNucleus(LogitsProcessor):
    """Keep the likeliest tokens whose predecessors together have at most probability p.

    The probabilities are those at temperature 1; of equals the lower id comes first; the likeliest
    token always stays.
    """

    def __init__(self, p: float) -> None:
        """Set the nucleus.

        Raises:
            InputError: p is not in (0, 1].
        """
        if not 0 < p <= 1:
            raise InputError("nucleus_sampling", f"must be in (0, 1], found {p!r}")
        self.p = p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits (B, V) to logits (B, V)."""
        ranked, order = scores.sort(dim=-1, descending=True, stable=True)
        before = ranked.softmax(-1).cumsum(-1).roll(1, -1)
        before[..., 0] = 0
        dropped = (before > self.p).scatter(-1, order, before > self.p)
        return scores.masked_fill(dropped, DROPPED)


class OfficialTopK(LogitsProcessor):
    """Drop logits up to the k-th largest, the lowest such bound of the batch: keeps k-1."""

    def __init__(self, k: int) -> None:
        """Set the number.

        Raises:
            InputError: k is less than 2, which keeps nothing.
        """
        if k < 2:
            raise InputError("sampling_keep_top_k", f"must be 0 (off) or at least 2, found {k!r}")
        self.k = k

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits (B, V) to logits (B, V)."""
        bound = scores.topk(min(self.k, scores.shape[-1])).values.min()
        return scores.masked_fill(scores <= bound, DROPPED)


def official_sampling(
    nucleus: float = 0.9, temperature: float = 1.0, top_k: int = 0
) -> LogitsProcessorList:
    """The official controls in their order, for `generate(logits_processor=…, do_sample=True)`.

    Pass `top_k=0` to `generate` too: transformers' own filter would act beside these.

    Args:
        nucleus: the ELI5 driver's p; 1 turns it off.
        temperature: divides the logits after the filter.
        top_k: 0 turns it off.

    Raises:
        InputError: a control is out of bounds, or top-k is asked for beside a nucleus.
    """
    if top_k and nucleus < 1:
        raise InputError("sampling_keep_top_k", f"must be 0 with a nucleus below 1, found {top_k}")
    processors = LogitsProcessorList()
    if nucleus < 1:
        processors.append(OfficialNucleus(nucleus))
    if top_k:
        processors.append(OfficialTopK(top_k))
    if temperature != 1:
        processors.append(TemperatureLogitsWarper(temperature))
    return processors
