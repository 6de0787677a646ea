"""The steps of a training run, and what is measured and kept between them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import PartialState  # type: ignore[import-untyped]

from retriever.checkpoints import Checkpoint, latest_checkpoint, write_checkpoint
from retriever.contrastive import Stepper, make_batch
from retriever.encoders import Vectors
from retriever.errors import ArtefactMissing
from retriever.ranking_metrics import ranking_metrics
from retriever.trainable import TrainableEncoder
from retriever.training_data import Example, HeldOut, Text
from retriever.training_plan import Listener, TrainingSettings

MAX_NORM = 1.0  # of the gradients, as transformers' Trainer cuts them
COSINE_TEMPERATURE = 0.05  # the scale of 20 of sentence-transformers' ranking loss
MEASURED_AT_ONCE = 32  # texts

T = TypeVar("T", str, Text)


class TrainingLoop:
    """An encoder, its optimizer, and the examples."""

    def __init__(
        self,
        settings: TrainingSettings,
        encoder: TrainableEncoder,
        examples: Sequence[Example],
        held_out: HeldOut,
        state: PartialState,
    ) -> None:
        self._settings, self._encoder, self._state = settings, encoder, state
        self._examples, self._held_out = examples, held_out
        encoder.to(state.device)
        self._weights = list(encoder.named_parameters().values())
        self.optimizer = torch.optim.AdamW(self._weights, weight_decay=0.0)  # DPR has none
        default = COSINE_TEMPERATURE if encoder.cosine else 1.0
        self._stepper = Stepper(
            encoder, state, settings.part, settings.temperature or default, settings.precision
        )

    def advance(self, work: Path, checkpoint: Checkpoint, listener: Listener) -> Checkpoint:
        """Take the steps to the next checkpoint."""
        settings, losses = self._settings, []
        until = min(checkpoint.step + settings.every, settings.steps)
        self._encoder.train(True)
        for step in range(checkpoint.step, until):
            losses.append(self._step(step))
            listener.progress(step + 1, settings.steps)
        mean = sum(losses) / len(losses)
        return self.keep(work, until, checkpoint.metrics, listener, loss=mean)

    def _step(self, step: int) -> float:
        settings = self._settings
        order = np.random.default_rng([settings.seed, step])
        rows = batch_rows(len(self._examples), settings.batch, settings.seed, step)
        batch = make_batch([self._examples[row] for row in rows], settings.negatives, order)
        # Dropout of its own for each process, which a resumed run draws again.
        torch.manual_seed(int(order.integers(2**31)) + self._state.process_index)
        self.optimizer.zero_grad()
        loss = self._stepper.backward(batch)
        torch.nn.utils.clip_grad_norm_(self._weights, MAX_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        self.optimizer.step()
        return loss

    def keep(
        self,
        work: Path,
        step: int,
        before: Sequence[dict[str, Any]],
        listener: Listener,
        **training: float,
    ) -> Checkpoint:
        """Measure the encoder, tell it, and write a checkpoint, which all processes then read."""
        if self._state.is_main_process:
            metrics = {"step": step, **training, **self._measure()}
            write_checkpoint(work, step, self._encoder, self.optimizer, [*before, metrics])
            listener.metrics(metrics)
        self._state.wait_for_everyone()
        checkpoint = latest_checkpoint(work)
        if checkpoint is None:
            raise ArtefactMissing(
                f"process {self._state.process_index} does not see the checkpoint that the first "
                f"one wrote to {work}; name an --out in a folder that all machines share"
            )
        return checkpoint

    def _measure(self) -> dict[str, float]:
        held_out = self._held_out
        self._encoder.train(False)
        questions = _encoded(self._encoder.question_vectors, held_out.questions)
        pool = _encoded(self._encoder.passage_vectors, held_out.pool)
        metrics = ranking_metrics(questions @ pool.T, held_out.relevant)
        return {name: float(values.mean()) for name, values in metrics.items()}


def batch_rows(examples: int, batch: int, seed: int, step: int) -> list[int]:
    """The rows of a step's batch: each epoch takes all in an order of its own, but an odd rest."""
    epoch, place = divmod(step, examples // batch)
    order = np.random.default_rng([seed, 0, epoch]).permutation(examples)
    return [int(row) for row in order[place * batch : (place + 1) * batch]]


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """It rises in a line, then falls in a line, to reach 0 after the last step."""
    rising = max(1, round(settings.warmup * settings.steps))
    falling = max(1, settings.steps - rising)
    share = min((step + 1) / rising, (settings.steps - step) / falling)
    return settings.learning_rate * min(1.0, share)


@torch.inference_mode()
def _encoded(encode: Callable[[Sequence[T]], torch.Tensor], items: Sequence[T]) -> Vectors:
    """Vectors (N, D) of texts in their order, those of like length computed together."""
    order = sorted(range(len(items)), key=lambda row: len("".join(items[row])))
    vectors = [
        encode([items[row] for row in order[first : first + MEASURED_AT_ONCE]]).cpu()
        for first in range(0, len(order), MEASURED_AT_ONCE)
    ]
    together: Vectors = torch.cat(vectors)[np.argsort(order)].numpy()
    return together
