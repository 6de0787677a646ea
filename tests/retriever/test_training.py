import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from retriever.artefacts import exclusive, file_digest
from retriever.errors import ArtefactMismatch, BuildInProgress, SourceError
from retriever.named_encoders import open_encoder
from retriever.training import train
from retriever.training_loop import batch_rows, learning_rate
from retriever.training_plan import Listener, Metrics, Plan, TrainingSettings
from tests.conftest import ROOT
from tests.retriever.training_setup import toy_plan


def listening(told: list[Metrics], said: list[str] | None = None) -> Listener:
    return Listener((said if said is not None else []).append, told.append)


def test_what_can_be_learned_is_learned_and_loads_as_an_encoder(tmp_path: Path) -> None:
    told: list[Metrics] = []
    plan = toy_plan(tmp_path, "out", steps=60, every=30, learning_rate=0.01, held_out=0.2)
    name = train(plan, listening(told))
    assert [metrics["step"] for metrics in told] == [0, 30, 60]
    assert told[2]["loss"] < told[1]["loss"] / 1.5
    assert told[2]["mrr"] > told[0]["mrr"] + 0.1
    assert told[2]["ndcg@10"] > told[0]["ndcg@10"] + 0.1
    encoder = open_encoder(name)
    assert name == str(plan.out)
    assert encoder.encode_questions(["ace?"]).shape == (1, 16)
    kept = [json.loads(line) for line in (plan.out / "metrics.jsonl").read_text().splitlines()]
    assert kept == told
    assert not plan.work.exists()


def run_processes(*arguments: object) -> None:
    command = [sys.executable, "-m", "tests.retriever.training_processes", *map(str, arguments)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stderr[-3000:]


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_run_killed_at_any_point_ends_with_the_same_bytes(tmp_path: Path) -> None:
    run_processes("killed", tmp_path, 4)
    undisturbed = digests(tmp_path / "undisturbed")
    assert {"model.safetensors", "tokenizer.json", "metrics.jsonl"} <= undisturbed.keys()
    assert digests(tmp_path / "killed") == undisturbed
    assert not list(tmp_path.glob("*.partial"))


def test_several_processes_find_the_gradients_of_one_and_train_together(tmp_path: Path) -> None:
    run_processes("together", tmp_path, 2)
    one, several = load_file(tmp_path / "one"), load_file(tmp_path / "several")
    assert one.keys() == several.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(several[name], gradient, rtol=1e-4, atol=1e-6)
    assert open_encoder(str(tmp_path / "out")).dimension == 16


class Stopped(Exception):
    pass


def stopped_at(plan: Plan, step: int) -> None:
    def progress(done: int, total: int) -> None:
        if done == step:
            raise Stopped

    with pytest.raises(Stopped):
        train(plan, Listener(progress=progress))


def test_a_stopped_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    plan = toy_plan(tmp_path, "out")
    stopped_at(plan, 5)
    told: list[Metrics] = []
    said: list[str] = []
    train(plan, listening(told, said))
    assert "Going on with a run that was stopped" in said
    assert [metrics["step"] for metrics in told] == [6, 8]
    whole = toy_plan(tmp_path, "whole")
    train(whole)
    assert digests(plan.out) == digests(whole.out)


def test_a_finished_run_is_not_repeated_and_another_not_overwritten(tmp_path: Path) -> None:
    plan = toy_plan(tmp_path, "out", steps=2)
    train(plan)
    told: list[Metrics] = []
    assert train(plan, listening(told)) == str(plan.out)
    assert not told
    other = replace(plan, settings=replace(plan.settings, seed=1))
    with pytest.raises(ArtefactMismatch, match="choose another --out"):
        train(other)
    before = digests(plan.out)
    train(other, discard=True)
    assert digests(plan.out) != before


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    plan = toy_plan(tmp_path, "out", steps=1)
    plan.out.mkdir()
    (plan.out / "thesis.tex").touch()
    with pytest.raises(ArtefactMismatch, match="exists and is not the encoder"):
        train(plan, discard=True)
    assert (plan.out / "thesis.tex").exists()


def test_a_stopped_run_of_other_settings_is_named(tmp_path: Path) -> None:
    plan = toy_plan(tmp_path, "out")
    stopped_at(plan, 3)
    other = replace(plan, settings=replace(plan.settings, seed=1, learning_rate=0.1))
    with pytest.raises(ArtefactMismatch, match="differs in: learning_rate, seed;"):
        train(other)
    train(other, discard=True)


def test_a_training_example_that_is_held_out_is_not_trained_on(tmp_path: Path) -> None:
    plan = toy_plan(tmp_path, "out", steps=1)
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text("".join((tmp_path / "toy.jsonl").read_text().splitlines(True)[:20]))
    said: list[str] = []
    train(replace(plan, held_out=held_out), listening([], said))
    assert said[0] == "40 examples to train on, 20 held out, 20 of the data not trained on"


def test_data_that_cannot_be_trained_on_are_refused(tmp_path: Path) -> None:
    plan = toy_plan(tmp_path, "out", batch=1000)
    with pytest.raises(SourceError, match=r"a batch of 1000 .* there are 57 .* smaller --batch"):
        train(plan)
    with pytest.raises(SourceError, match="there is no file"):
        train(replace(plan, data=[tmp_path / "none.jsonl"]))


def test_two_processes_do_not_train_into_one_folder(tmp_path: Path) -> None:
    plan = toy_plan(tmp_path, "out")
    with exclusive(plan.out), pytest.raises(BuildInProgress):
        train(plan)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5))
def test_every_epoch_takes_each_example_at_most_once_and_few_are_left(
    examples: int, batch: int, epoch: int
) -> None:
    batch = min(batch, examples)
    steps = examples // batch
    taken = [
        row
        for step in range(epoch * steps, (epoch + 1) * steps)
        for row in batch_rows(examples, batch, 0, step)
    ]
    assert len(taken) == len(set(taken)) == steps * batch > examples - batch
    assert set(taken) <= set(range(examples))


@given(st.integers(1, 200), st.floats(0, 1))
def test_the_learning_rate_rises_to_its_height_and_falls(steps: int, warmup: float) -> None:
    settings = TrainingSettings(steps=steps, warmup=warmup, learning_rate=2.0)
    rates = [learning_rate(settings, step) for step in range(steps)]
    top = int(np.argmax(rates))
    assert all(0 < rate <= 2 for rate in rates)
    assert all(a <= b for a, b in pairwise(rates[: top + 1]))
    assert all(a >= b for a, b in pairwise(rates[top:]))
    assert rates[top] == pytest.approx(2.0) or steps < 3


def test_training_settings_are_kept_beside_the_encoder(tmp_path: Path) -> None:
    plan = toy_plan(tmp_path, "out", steps=1)
    train(plan)
    manifest: Mapping[str, object] = json.loads((plan.out / "manifest.json").read_bytes())
    assert manifest["kind"] == "trained encoder"
    assert manifest["counts"] == {"training_examples": 57, "held_out_examples": 3}
