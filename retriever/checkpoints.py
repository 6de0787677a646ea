"""Checkpoints of a training run: whole and as written, or not there; nothing in them is pickled."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from retriever.artefacts import seal, verified_manifest
from retriever.errors import ArtefactError
from retriever.trainable import TrainableEncoder

KIND, VERSION = "retriever training checkpoint", 1
REMEDY = "'rag-rt train retriever'"
ENCODER = "encoder"
OPTIMIZER = "optimizer.safetensors"
METRICS = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run after `step` steps, with what was measured until then."""

    directory: Path
    step: int
    metrics: list[dict[str, Any]]

    @property
    def encoder(self) -> Path:
        """The folder of the encoder."""
        return self.directory / ENCODER

    def restore_optimizer(
        self, encoder: TrainableEncoder, optimizer: torch.optim.Optimizer
    ) -> None:
        """Give an optimizer of the encoder's weights the state that it had."""
        state = load_file(self.directory / OPTIMIZER)
        parameters = encoder.named_parameters()
        for key, tensor in state.items():
            name, _, value = key.rpartition("/")
            parameter = parameters[name]
            place = "cpu" if value == "step" else parameter.device  # as torch's AdamW keeps it
            optimizer.state[parameter][value] = tensor.to(place)


def write_checkpoint(
    work: Path,
    step: int,
    encoder: TrainableEncoder,
    optimizer: torch.optim.Optimizer,
    metrics: Sequence[Mapping[str, Any]],
) -> Checkpoint:
    """Write a checkpoint; the earlier ones go once it is whole."""
    directory = work / f"step-{step:08d}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    encoder.save(directory / ENCODER)
    state = {
        f"{name}/{value}": tensor.contiguous()
        for name, parameter in encoder.named_parameters().items()
        for value, tensor in optimizer.state.get(parameter, {}).items()
    }
    save_file(state, directory / OPTIMIZER)
    (directory / METRICS).write_text("".join(json.dumps(line) + "\n" for line in metrics))
    seal(directory, kind=KIND, version=VERSION, settings={}, counts={"step": step})
    for other in work.glob("step-*"):
        if other != directory:
            shutil.rmtree(other)
    return Checkpoint(directory, step, list(map(dict, metrics)))


def latest_checkpoint(work: Path) -> Checkpoint | None:
    """The last whole checkpoint of a run, None where there is none yet."""
    for directory in sorted(work.glob("step-*"), reverse=True):
        try:
            manifest = verified_manifest(directory, kind=KIND, version=VERSION, remedy=REMEDY)
        except ArtefactError:  # the run was killed while it wrote this one
            continue
        lines = (directory / METRICS).read_text().splitlines()
        return Checkpoint(directory, manifest.counts["step"], [json.loads(line) for line in lines])
    return None
