"""What a training run is: the data, the settings, and who is told how it goes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from retriever.encoders import Progress
from retriever.searching import Searcher

Metrics = Mapping[str, float]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a retriever is trained."""

    steps: int = 500
    batch: int = 128
    """Questions of a step, each of which is held against the texts of all."""
    part: int = 32
    """Texts that are computed at once: memory grows with them, the gradients are the same."""
    negatives: int = 1
    """Hard negatives of each question in a batch, where there are some."""
    learning_rate: float = 2e-5  # DPR's
    warmup: float = 0.1
    """The share of the steps in which the learning rate rises; then it falls to 0."""
    temperature: float | None = None
    """Divides the products; by default 0.05 for cosines, and 1, DPR's, for inner products."""
    max_tokens: int = 256
    precision: Precision = "float32"
    every: int = 100
    """Steps from one checkpoint, which is measured, to the next."""
    held_out: float = 0.05
    """Of the examples, the share that is measured by where no file is named for it."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained, by what, into which folder."""

    encoder: str
    """The one to start from (`encoder_names`)."""
    data: Sequence[Path]
    """Files of examples (`training_data`)."""
    out: Path
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    held_out: Path | None = None
    """Examples to measure by; what shares a page, a question or a positive is not trained on."""
    searcher: Searcher | None = None
    """Mines hard negatives."""

    @property
    def work(self) -> Path:
        """Where a run is kept until it is whole."""
        return self.out.with_name(f"{self.out.name}.partial")


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told how a run goes: in sentences, in metrics, in steps."""

    report: Callable[[str], None] = lambda message: None
    metrics: Callable[[Metrics], None] = lambda metrics: None
    progress: Progress = lambda done, total: None
