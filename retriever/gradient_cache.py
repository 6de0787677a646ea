"""Gradients of a loss over a large batch in the memory of a small one (Gao et al. 2021).

A contrastive loss compares every vector of a batch with every other, so the batch cannot be cut
into parts whose losses are added. But it needs the vectors alone: they are computed part by part
without a graph, the loss gives the gradient of each vector, and each part is computed once more,
with a graph, to carry its vectors' gradients on to the weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class RandomState:
    """The state of torch's generators, of the processor and of the device that is in use."""

    processor: Tensor
    device: Tensor | None

    @classmethod
    def now(cls) -> "RandomState":
        """The states as they are."""
        device = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
        return cls(torch.get_rng_state(), device)

    def restore(self) -> None:
        """Let the generators go on from here."""
        torch.set_rng_state(self.processor)
        if self.device is not None:
            torch.cuda.set_rng_state(self.device)


def backward_in_parts(
    parts: Sequence[Callable[[], Tensor]], loss_of: Callable[[Tensor], Tensor]
) -> Tensor:
    """Add to the weights' gradients those of a loss over all parts' vectors together.

    Dropout falls on the same places in both passes over a part. The last part keeps the graph of
    its first pass, so a batch of one part is computed once.

    Args:
        parts: each computes the vectors (B_i, D) of its part of the batch; at least one.
        loss_of: the loss, a scalar, of all vectors (B_1 + … + B_n, D) in the order of `parts`.

    Returns:
        The loss, without a graph.
    """
    states: list[RandomState] = []
    vectors: list[Tensor] = []
    with torch.no_grad():
        for part in parts[:-1]:
            states.append(RandomState.now())
            vectors.append(part())
    last = parts[-1]()
    vectors.append(last.detach())
    after = RandomState.now()
    together = torch.cat(vectors).requires_grad_()
    loss = loss_of(together)
    (gradient,) = torch.autograd.grad(loss, together)
    *earlier, of_last = torch.split(gradient, [len(part) for part in vectors])
    last.backward(of_last)  # type: ignore[no-untyped-call]
    for part, state, of_part in zip(parts[:-1], states, earlier, strict=True):
        state.restore()
        part().backward(of_part)  # type: ignore[no-untyped-call]
    after.restore()
    return loss.detach()
