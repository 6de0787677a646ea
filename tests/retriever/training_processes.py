"""Runs of training in processes that are killed, or that work together; see test_training.

A process of its own forks one for each run, before torch has threads, so that it is loaded once.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from safetensors.torch import save_file

from retriever.contrastive import Stepper, make_batch
from retriever.trainable import TrainableEncoder
from retriever.training import train
from retriever.training_data import read_examples
from retriever.training_plan import Listener, Plan
from tests.conftest import free_port
from tests.retriever.training_setup import toy_plan


def forked(run: Callable[[], object], environment: Mapping[str, str] | None = None) -> int:
    """The id of a process that does this and ends."""
    process = os.fork()
    if process:
        return process
    os.environ.update(environment or {})
    torch.set_num_threads(1)
    run()
    os._exit(0)


def killed_runs(folder: Path, kills: int) -> None:
    """A run that is killed at random points until it is whole, and one that nobody disturbs."""
    settings = {"steps": 16, "every": 3}
    undisturbed, plan = (toy_plan(folder, out, **settings) for out in ("undisturbed", "killed"))
    assert os.waitpid(forked(lambda: train(undisturbed)), 0)[1] == 0
    order = random.Random(0)
    part = settings["steps"] // kills
    for first in range(0, settings["steps"], part):
        kill_after(plan, first + order.randrange(part), order.uniform(0, 0.05))
    assert os.waitpid(forked(lambda: train(plan)), 0)[1] == 0


def kill_after(plan: Plan, step: int, seconds: float) -> None:
    """Run, and be killed so long after this step, at the latest when the next one has ended."""
    read, write = os.pipe()

    def progress(done: int, total: int) -> None:
        os.write(write, bytes([done]))
        if done > step:
            time.sleep(60)

    def run() -> None:
        os.write(write, bytes([0]))
        train(plan, Listener(progress=progress))

    process = forked(run)
    os.close(write)
    while os.read(read, 1)[0] < step:
        pass
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
    os.close(read)


def one_step(folder: Path, name: str) -> None:
    """The gradients of a batch, as the first process has them."""
    state = PartialState(cpu=True)
    encoder = TrainableEncoder(str(folder / "encoder"), 32)
    batch = make_batch(read_examples(folder / "toy.jsonl")[:13], 2, np.random.default_rng(0))
    loss = Stepper(encoder, state, 3, 0.1, "float32").backward(batch)
    gradients = {
        name: parameter.grad
        for name, parameter in encoder.named_parameters().items()
        if parameter.grad is not None
    }
    if state.is_main_process:
        save_file({**gradients, "loss": torch.tensor(loss)}, folder / name)
    state.wait_for_everyone()


def together(folder: Path, processes: int) -> None:
    """One step of several processes, and of one; then a whole run of several."""
    plan = toy_plan(folder, "out", steps=2, every=1)
    assert os.waitpid(forked(lambda: one_step(folder, "one")), 0)[1] == 0
    in_several(lambda: one_step(folder, "several"), processes)
    in_several(lambda: train(plan), processes)


def in_several(run: Callable[[], object], processes: int) -> None:
    """Do this in processes that know of each other, as accelerate starts them."""
    shared = {
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "ACCELERATE_USE_CPU": "true",
    }
    started = [
        forked(run, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(processes)
    ]
    assert [os.waitpid(process, 0)[1] for process in started] == [0] * processes


if __name__ == "__main__":
    {"killed": killed_runs, "together": together}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
