"""Bounds against the official scorer's figures for the published transforms, and as a command."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eval.bounds import best_gold, bounds_report, longest_gold
from eval.golds import Question
from eval.run_kilt import app
from tests.eval.conftest import WriteRecords

NOTE = "derived data, not official KILT"


def report(gold: Path, train: Path | None = None, seed: int = 0) -> dict[str, Any]:
    return bounds_report(gold, train, seed=seed, progress=lambda done, total: None)


def question(*answers: str) -> Question:
    return Question("1", "Why?", answers, False, None)


def record(number: int, *answers: str, **more: Any) -> dict[str, Any]:
    outputs = [{"answer": answer} for answer in answers]
    return {"id": number, "input": f"Why is it {number}?", "output": outputs, **more}


@pytest.mark.parametrize("bound", ["copy_input", "longest_gold", "best_gold"])
def test_figures_are_the_official_ones_of_the_published_transform(shared: Path, bound: str) -> None:
    kilt = shared / "golden" / "kilt"
    expected = json.loads((kilt / f"bounds_{bound}" / "expected.json").read_text())
    found = report(kilt / "bounds_base" / "gold.jsonl")["bounds"][bound]["protocol"]
    assert found["figures"] == expected["downstream"]
    low, high = found["intervals"]["rougel"]
    assert low < found["figures"]["rougel"] < high


def test_the_longest_counts_words_and_the_first_of_equals_is_taken() -> None:
    assert longest_gold(question("one longwordlongword", "a b c", "d e f")) == "a b c"


def test_the_best_gold_is_nearest_to_another() -> None:
    answers = ("nothing of it", "salt comes from rock", "salt comes from rock and rain")
    assert best_gold(question(*answers)) in answers[1:]


def test_records_with_one_answer_or_two_equal_ones_count_only_among_all(
    write_records: WriteRecords,
) -> None:
    gold = write_records(
        "gold.jsonl", [record(1, "a b"), record(2, "a", "c", " c "), record(3, "a b", "a c")]
    )
    found = report(gold)
    assert found["counts"] == {
        "records_with_answers": 3,
        "protocol": 1,
        "with_one_answer": 1,
        "with_equal_answers": 1,
        "training_questions": 0,
        "training_answers": 0,
    }
    copied = found["bounds"]["copy_input"]
    assert (copied["protocol"]["records"], copied["all_records"]["records"]) == (1, 3)
    assert found["bounds"]["best_gold"]["all_records"] is None


def test_a_file_of_single_answers_has_lower_bounds_alone(write_records: WriteRecords) -> None:
    gold = write_records("gold.jsonl", [record(1, "it is")])
    found = report(gold)["bounds"]
    assert found["copy_input"]["all_records"]["figures"]["rougel"] > 0
    assert found["copy_input"]["protocol"] is found["longest_gold"]["protocol"] is None
    assert CliRunner().invoke(app, ["bounds", str(gold)]).exit_code == 0


def test_random_answers_come_from_training_and_only_the_longest_from_the_longest(
    write_records: WriteRecords,
) -> None:
    gold = write_records("gold.jsonl", [record(n, "right answer", "x") for n in range(40)])
    train = write_records("train.jsonl", [record(1, "right answer", "wrong it is not right")])
    found = report(gold, train)["bounds"]
    assert 0 < found["random_train_ans"]["all_records"]["figures"]["accuracy"] < 1
    assert found["random_train_ans_longest"]["all_records"]["figures"]["accuracy"] == 0
    assert report(gold, train) == report(gold, train)
    assert report(gold, train, seed=1)["bounds"] != found
    assert "random_train_ans" not in report(gold)["bounds"]


def test_derived_data_is_said_so_wherever_it_comes_from(
    write_records: WriteRecords, tmp_path: Path
) -> None:
    gold = write_records("gold.jsonl", [record(1, "a", "b")])
    train = write_records("train.jsonl", [record(1, "a", meta={"source": "eli5-category"})])
    out = tmp_path / "bounds.json"
    command = ["bounds", str(gold), "--train", str(train), "--out", str(out)]
    printed = CliRunner().invoke(app, command).stdout
    assert f"({NOTE})" in printed
    assert json.loads(out.read_text())["note"] == NOTE
    assert json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)["note"] == NOTE
    assert NOTE not in CliRunner().invoke(app, ["bounds", str(gold)]).stdout


def test_refusals_are_one_line_and_an_exit_code(
    write_records: WriteRecords, tmp_path: Path
) -> None:
    gold = write_records("gold.jsonl", [record(1, "a", "b")])
    missing = CliRunner().invoke(app, ["bounds", "nowhere.jsonl"])
    assert (missing.exit_code, missing.stderr.count("\n")) == (2, 1)
    unwritable = CliRunner().invoke(app, ["bounds", str(gold), "--out", str(tmp_path)])
    assert (unwritable.exit_code, unwritable.stderr.count("\n")) == (1, 1)
