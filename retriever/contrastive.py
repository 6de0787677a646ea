"""The contrastive step: each question is to be nearest to its own text, of all in the batch.

DPR's objective (Karpukhin et al. 2020, §3.2) and, with answers for passages, c-REALM's (Krishna
et al. 2021, §2.1). With several processes each computes the vectors of some texts, all compute the
same loss over everybody's, and the sum of their gradients is that of the whole batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from accelerate.utils import gather, reduce  # type: ignore[import-untyped]
from torch import Tensor

from retriever.gradient_cache import backward_in_parts
from retriever.trainable import TrainableEncoder
from retriever.training_data import Example, Text
from retriever.training_plan import Precision

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """B questions and P texts: the positive of each question, in their order, then negatives."""

    questions: list[str]
    texts: list[Text]
    ignored: npt.NDArray[np.bool_]
    """(B, P): texts that answer the question too, and are not held against it."""


def make_batch(examples: Sequence[Example], negatives: int, order: np.random.Generator) -> Batch:
    """A batch of all `examples`, with a random positive and up to `negatives` negatives of each."""
    positives = [e.positives[order.integers(len(e.positives))] for e in examples]
    hard = [
        e.negatives[row]
        for e in examples
        for row in order.permutation(len(e.negatives))[:negatives]
    ]
    texts = [*positives, *hard]
    right: dict[str, set[Text]] = {}
    for example in examples:
        right.setdefault(example.question, set()).update(example.positives)
    ignored = np.array([[text in right[e.question] for text in texts] for e in examples])
    np.fill_diagonal(ignored, val=False)
    return Batch([e.question for e in examples], texts, ignored)


def contrastive_loss(
    questions: Tensor, texts: Tensor, ignored: Tensor, temperature: float
) -> Tensor:
    """Mean over questions of -log softmax(q · t / temperature) at the question's own text.

    Args:
        questions: (B, D).
        texts: (P, D), of which row i belongs to question i for i < B.
        ignored: (B, P), true where a text is left out of a question's sum.
        temperature: divides the products.
    """
    products = questions @ texts.T / temperature  # (B, P)
    own = torch.arange(len(questions), device=products.device)
    return torch.nn.functional.cross_entropy(products.masked_fill(ignored, -torch.inf), own)


def shares(lengths: Sequence[int], processes: int) -> list[list[int]]:
    """The rows of each process, texts of like length beside each other.

    All have equally many; where the rows do not go round, some are there twice.
    """
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    order += (order * processes)[: -len(order) % processes]
    return [order[process::processes] for process in range(processes)]


@dataclass(frozen=True, slots=True)
class Stepper:
    """Computes a batch's gradients, `part` texts at a time."""

    encoder: TrainableEncoder
    state: PartialState
    part: int
    temperature: float
    precision: Precision

    def backward(self, batch: Batch) -> float:
        """Add the loss' gradients to those of the weights; returns the loss."""
        questions = shares([len(q) for q in batch.questions], self.state.num_processes)
        texts = shares([len(t.text) for t in batch.texts], self.state.num_processes)
        rank = self.state.process_index
        ignored = torch.from_numpy(batch.ignored).to(self.state.device)

        def loss_of(vectors: Tensor) -> Tensor:
            mine, other = torch.split(vectors, [len(questions[rank]), len(texts[rank])])
            return contrastive_loss(
                self._of_everybody(mine, questions),
                self._of_everybody(other, texts),
                ignored,
                self.temperature,
            )

        parts = [
            *self._parts(self.encoder.question_vectors, batch.questions, questions[rank]),
            *self._parts(self.encoder.passage_vectors, batch.texts, texts[rank]),
        ]
        loss = backward_in_parts(parts, loss_of)
        if self.state.num_processes > 1:
            for parameter in self.encoder.named_parameters().values():
                if parameter.grad is not None:
                    parameter.grad = reduce(parameter.grad, "sum")
        return float(loss)

    def _parts(
        self, encode: Callable[[Sequence[T]], Tensor], items: Sequence[T], rows: Sequence[int]
    ) -> Iterator[Callable[[], Tensor]]:
        for first in range(0, len(rows), self.part):
            chosen = [items[row] for row in rows[first : first + self.part]]
            yield partial(self._encode, encode, chosen)

    def _encode(self, encode: Callable[[Sequence[T]], Tensor], items: Sequence[T]) -> Tensor:
        reduced = self.precision == "bfloat16"
        with torch.autocast(self.state.device.type, torch.bfloat16, enabled=reduced):
            return encode(items)

    def _of_everybody(self, mine: Tensor, shares: Sequence[Sequence[int]]) -> Tensor:
        """Vectors (N, D) in the order of the batch; only those computed here have a graph."""
        vectors = list(torch.split(gather(mine.detach()), len(mine)))
        vectors[self.state.process_index] = mine
        place = {row: place for place, row in enumerate(row for rows in shares for row in rows)}
        rows = [place[row] for row in range(len(place))]
        return torch.cat(vectors)[torch.tensor(rows, device=mine.device)]
