"""Training of a retriever's encoder, from any encoder that this project loads.

A run is a function of its plan alone: what is random in a step follows from the seed and the step's
number. A run that was killed goes on from its last checkpoint, and ends with the weights of an
undisturbed one where the devices are of the same kind and number.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from accelerate.utils import parse_flag_from_env  # type: ignore[import-untyped]

from retriever.artefacts import (
    atomic_write,
    exclusive,
    file_digest,
    read_manifest,
    replace_directory,
    seal,
    verified_manifest,
)
from retriever.checkpoints import METRICS, REMEDY, Checkpoint, latest_checkpoint
from retriever.errors import ArtefactError, ArtefactMismatch, SourceError
from retriever.mining import mine_negatives
from retriever.trainable import TrainableEncoder
from retriever.training_data import Example, HeldOut, Text, hold_out, read_examples, without_overlap
from retriever.training_loop import TrainingLoop
from retriever.training_plan import Listener, Plan

KIND, VERSION = "trained encoder", 1
PLAN = "plan.json"
NEGATIVES = "negatives.json"


def train(plan: Plan, listener: Listener | None = None, *, discard: bool = False) -> str:
    """Train an encoder, or go on with a run that was stopped; returns the trained one's name.

    Nothing is done where `plan.out` already holds the encoder of this very plan. Started by
    accelerate in several processes, each calls this; the first one writes and tells.

    Args:
        plan: what is trained.
        listener: is told how it goes.
        discard: remove what another plan left in the folder, or beside it.

    Raises:
        SourceError: the data cannot be read, or are too few.
        EncoderError: the encoder cannot be loaded.
        BuildInProgress: another process trains into the folder.
        ArtefactMismatch: the folder holds something else, and `discard` is not given.
    """
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))  # as its launcher says
    told = listener if listener is not None and state.is_main_process else Listener()
    with ExitStack() as stack:
        if state.is_main_process:
            stack.enter_context(exclusive(plan.out))
        torch.manual_seed(plan.settings.seed)  # of weights that the starting encoder lacks
        encoder = TrainableEncoder(plan.encoder, plan.settings.max_tokens)
        identity = _identity(plan, encoder)
        if not _is_done(plan.out, identity):
            if state.is_main_process:
                _start_or_resume(plan, identity, discard, told)
            state.wait_for_everyone()
            _train(plan, encoder, identity, state, told)
        if state.is_main_process:
            shutil.rmtree(plan.work, ignore_errors=True)
        return encoder.name_at(plan.out)


def _identity(plan: Plan, encoder: TrainableEncoder) -> dict[str, Any]:
    """What the trained weights depend on, as JSON values."""
    return {
        **asdict(plan.settings),
        "encoder": plan.encoder,
        "encoder_fingerprint": encoder.fingerprint,
        "data": [file_digest(path) for path in _existing(plan.data)],
        "held_out_data": [file_digest(path) for path in _existing([plan.held_out])],
        "mined_from": dict(plan.searcher.settings) if plan.searcher else None,
    }


def _existing(paths: Sequence[Path | None]) -> list[Path]:
    for path in paths:
        if path is not None and not path.is_file():
            raise SourceError(f"there is no file {path}; name one of JSON lines to train on")
    return [path for path in paths if path is not None]


def _is_done(out: Path, identity: Mapping[str, Any]) -> bool:
    try:
        manifest = verified_manifest(out, kind=KIND, version=VERSION, remedy=REMEDY)
    except ArtefactError:
        return False
    return manifest.settings == identity


def _is_ours(out: Path) -> bool:
    """Whether a folder was written by a run, so that nothing else is ever deleted."""
    try:
        read_manifest(out, kind=KIND, version=VERSION, remedy=REMEDY)
    except ArtefactError:
        return False
    return True


def _start_or_resume(
    plan: Plan, identity: Mapping[str, Any], discard: bool, told: Listener
) -> None:
    """Make the folder of the run, or find it as an earlier process left it."""
    kept = plan.work / PLAN
    if kept.is_file():
        found = json.loads(kept.read_bytes())
        if found == identity:
            told.report("Going on with a run that was stopped")
            return
        if not discard:
            differing = ", ".join(name for name in identity if found.get(name) != identity[name])
            raise ArtefactMismatch(
                f"{plan.work} holds a stopped run that differs in: {differing}; repeat its "
                "settings to go on with it, or add --replace to discard it"
            )
    if plan.out.exists() and not (discard and _is_ours(plan.out)):
        raise ArtefactMismatch(
            f"{plan.out} exists and is not the encoder of these data and settings; choose another "
            "--out, or, if this command wrote it, add --replace"
        )
    shutil.rmtree(plan.work, ignore_errors=True)
    plan.work.mkdir(parents=True)
    with atomic_write(kept) as file:
        file.write(json.dumps(identity).encode())


def _train(
    plan: Plan,
    encoder: TrainableEncoder,
    identity: Mapping[str, Any],
    state: PartialState,
    told: Listener,
) -> None:
    training, held_out = _examples(plan, state, told)
    settings = plan.settings
    checkpoint = latest_checkpoint(plan.work)
    state.wait_for_everyone()  # or a process might see the first checkpoint, and another might not
    if checkpoint is not None:
        encoder.load(checkpoint.encoder)
    loop = TrainingLoop(settings, encoder, training, HeldOut.of(held_out), state)
    if checkpoint is None:
        checkpoint = loop.keep(plan.work, 0, [], told)
    else:
        checkpoint.restore_optimizer(encoder, loop.optimizer)
    while checkpoint.step < settings.steps:
        checkpoint = loop.advance(plan.work, checkpoint, told)
    if state.is_main_process:
        counts = {"training_examples": len(training), "held_out_examples": len(held_out)}
        _publish(plan, identity, checkpoint, counts)
    state.wait_for_everyone()


def _examples(
    plan: Plan, state: PartialState, told: Listener
) -> tuple[list[Example], list[Example]]:
    """What is trained on, with the negatives that were mined for it, and what is held out."""
    settings = plan.settings
    examples = [example for path in plan.data for example in read_examples(path)]
    if plan.held_out is None:
        training, held_out = hold_out(examples, settings.held_out, settings.seed)
    else:
        held_out = read_examples(plan.held_out)
        training = without_overlap(examples, held_out)
    if len(training) < settings.batch:
        raise SourceError(
            f"a batch of {settings.batch} questions needs as many examples, and there are "
            f"{len(training)} to train on beside the {len(held_out)} held out; "
            "give more data, or a smaller --batch"
        )
    told.report(
        f"{len(training):,} examples to train on, {len(held_out):,} held out, "
        f"{len(examples) - len(training):,} of the data not trained on"
    )
    if plan.searcher is not None:
        kept = plan.work / NEGATIVES
        if state.is_main_process and not kept.is_file():
            told.report("Mining negatives")
            _write_negatives(mine_negatives(training, plan.searcher, told.progress), kept)
        state.wait_for_everyone()
        training = _with_negatives(training, kept)
    return training, held_out


def _write_negatives(mined: Sequence[Example], path: Path) -> None:
    """Keep what was mined: the index may have changed when a stopped run goes on."""
    with atomic_write(path) as file:
        file.write(json.dumps([example.negatives for example in mined]).encode())


def _with_negatives(examples: Sequence[Example], path: Path) -> list[Example]:
    return [
        replace(example, negatives=tuple(Text(*text) for text in negatives))
        for example, negatives in zip(examples, json.loads(path.read_bytes()), strict=True)
    ]


def _publish(
    plan: Plan, identity: Mapping[str, Any], checkpoint: Checkpoint, counts: Mapping[str, int]
) -> None:
    new = plan.work / "new"
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(checkpoint.encoder, new)
    shutil.copyfile(checkpoint.directory / METRICS, new / METRICS)
    seal(new, kind=KIND, version=VERSION, settings=identity, counts=counts)
    replace_directory(new, plan.out)
