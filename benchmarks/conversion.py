"""What `rag-rt convert` costs for a model of the published size, beside a plain conversion.

A TensorFlow checkpoint of 490,718,460 parameters (weights rebuilt from a rule, with Adafactor's
slots) is written into a folder and converted by the real command. The baseline reads all variables
into memory, fills a model and saves it. Peak memory is of the whole process, TensorFlow and torch
included. The folder needs 7 GB; the checkpoint in it is kept and used again.

    python -m benchmarks.conversion --work /tmp/conversion
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import machine
from rag_rt.models.routing_transformer import RoutingTransformerForCausalLM, conversion
from rag_rt.models.routing_transformer.checkpoints import TensorFlowCheckpoint
from tests.rag_rt.routing_transformer.rebuilt import RebuiltVariables

GOLDEN = Path("../shared/golden/routing_transformer")
VOCABULARY = GOLDEN / "tokenizer" / "vocab.pg19_length8k.32768.subwords"
# The configuration's defaults are the published model's hyperparameters.
HPARAMS = "{}"
PIECE_BYTES = 512 << 20
ISSUE_LIMIT = 4e9  # bytes: the goal


class Cost(NamedTuple):
    """What a child process took."""

    seconds: float
    peak: int  # bytes
    output: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="A folder for 7 GB of files.", required=True)
    parser.add_argument("--role", choices=["write", "plain"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    work: Path = arguments.work
    if importlib.util.find_spec("tensorflow") is None:
        end("this benchmark needs TensorFlow; install it with pip install 'rag-rt[tf]'")
    if not GOLDEN.is_dir():
        end(f"{GOLDEN} is missing, which holds the list of variables and the vocabulary")
    checkpoint = work / "model.ckpt-100000"
    if arguments.role == "write":
        write_checkpoint(checkpoint)
    elif arguments.role == "plain":
        plain_conversion(checkpoint, work / "hparams.json", work / "plain")
    else:
        compare(work, checkpoint)


def compare(work: Path, checkpoint: Path) -> None:
    """Convert the checkpoint in three ways and print what each took."""
    print(f"machine     {machine()}", flush=True)
    work.mkdir(parents=True, exist_ok=True)
    (work / "hparams.json").write_text(HPARAMS)
    if not checkpoint.with_name(f"{checkpoint.name}.index").is_file():
        cost_of(module("write", work))
    convert = (
        *(str(Path(sys.executable).with_name("rag-rt")), "convert", "--json"),
        *("--checkpoint", str(checkpoint), "--hparams", str(work / "hparams.json")),
        *("--vocab", str(VOCABULARY), "--out", str(work / "model")),
    )
    print(f"checkpoint  {gigabytes(size_of(work.glob('model.ckpt-*'))):.2f} GB")
    costs = {"convert": cost_of(convert)}
    result, model_bytes = costs["convert"].output, size_of((work / "model").iterdir())
    costs["convert --verify"] = cost_of((*convert, "--verify"))
    shutil.rmtree(work / "model")
    costs["plain, all variables first"] = cost_of(module("plain", work))
    shutil.rmtree(work / "plain")
    facts = json.loads(result)
    print(f"result      {gigabytes(model_bytes):.2f} GB, {facts['variables']} variables", end="")
    print(f", {len(facts['ignored'])} left out (training's)")
    print(f"{'':28}  seconds  peak memory, GB")
    for name, cost in costs.items():
        print(f"{name:28}  {cost.seconds:7.1f} {gigabytes(cost.peak):16.2f}")
    peak = max(costs["convert"].peak, costs["convert --verify"].peak)
    print(f"under 4 GB: {'yes' if peak < ISSUE_LIMIT else 'NO'}")


def write_checkpoint(checkpoint: Path) -> None:
    """Write the checkpoint in pieces, then merge these into one, as training on many cores does."""
    tensorflow: Any = import_module("tensorflow")
    pieces = checkpoint.with_name("pieces")
    prefixes = []
    for number, piece in enumerate(in_pieces(published_variables())):
        prefixes.append(str(pieces / str(number)))
        tensorflow.raw_ops.SaveV2(
            prefix=prefixes[-1],
            tensor_names=list(piece),
            shape_and_slices=[""] * len(piece),
            tensors=[tensorflow.constant(array) for array in piece.values()],
        )
    tensorflow.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=prefixes, destination_prefix=str(checkpoint), delete_old_dirs=True
    )


def published_variables() -> Iterator[tuple[str, NDArray[Any]]]:
    """Every variable of the model, Adafactor's slots of each, and the step (SPEC §7)."""
    rebuilt = RebuiltVariables.of_real_model(GOLDEN / "real_eli5")
    yield "global_step", np.asarray(100_000, np.int64)
    for name, shape in rebuilt.shapes.items():
        yield name, rebuilt.read(name)
        # Factored: the mean squares of rows and of columns; a vector has its own alone.
        slots = [shape[:-1], (*shape[:-2], shape[-1])] if len(shape) > 1 else [shape]
        for slot, slot_shape in zip(("Adafactor", "Adafactor_1"), slots, strict=False):
            yield f"training/{name}/{slot}", np.ones(slot_shape, np.float32)


def in_pieces(
    variables: Iterator[tuple[str, NDArray[Any]]],
) -> Iterator[Mapping[str, NDArray[Any]]]:
    piece: dict[str, NDArray[Any]] = {}
    for name, array in variables:
        piece[name] = array
        if sum(value.nbytes for value in piece.values()) > PIECE_BYTES:
            yield piece
            piece = {}
    yield piece


def plain_conversion(checkpoint: Path, hparams: Path, directory: Path) -> None:
    """The baseline: all variables in memory, then a model, then the files."""
    variables = TensorFlowCheckpoint(checkpoint)
    assignment = conversion.assign(variables, hparams)
    arrays = {name: torch.from_numpy(variables.read(name)) for name in assignment.targets}
    model = RoutingTransformerForCausalLM(assignment.config)
    model.load_state_dict(
        {
            target.name: arrays[name].T if target.transposed else arrays[name]
            for name, target in assignment.targets.items()
        }
    )
    model.save_pretrained(directory)


def module(role: str, work: Path) -> tuple[str, ...]:
    return sys.executable, "-m", "benchmarks.conversion", "--work", str(work), "--role", role


def cost_of(command: tuple[str, ...]) -> Cost:
    """Run a child process; its peak is what the system counted for it alone.

    A child starts with the size of this process (0.4 GB), so no peak below that could be seen.
    """
    begin = time.perf_counter()
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{errors.read()}")
        return Cost(time.perf_counter() - begin, usage.ru_maxrss * 1024, output.read())


def size_of(paths: Iterator[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def gigabytes(count: float) -> float:
    return count / 1e9


def end(message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
