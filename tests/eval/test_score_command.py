"""`score` and `compare` as a person and as a program meet them."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from eval.score_command import register
from tests.eval.conftest import WriteRecords

TIES = Path(__file__).parents[1] / "golden" / "kilt" / "ties"
PAIR = (str(TIES / "guess.jsonl"), str(TIES / "gold.jsonl"))
EXPECTED = json.loads((TIES / "expected.json").read_text())

app = typer.Typer(pretty_exceptions_enable=False)
register(app)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def report(*arguments: str | Path) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return json.loads(result.stdout)


def assert_refused(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)
    assert all(word in result.stderr for word in words), result.stderr
    assert result.stderr.count("\n") == 1


@pytest.fixture
def derived_pair(write_records: WriteRecords) -> tuple[Path, Path]:
    golds = [
        {"id": n, "input": "?", "output": [{"answer": "a"}], "meta": {"source": "nq-complex"}}
        for n in range(3)
    ]
    guesses = [{"id": n, "output": [{"answer": "a", "provenance": []}]} for n in range(3)]
    return write_records("guess.jsonl", guesses), write_records("gold.jsonl", golds)


def test_json_holds_the_official_dictionary_and_nothing_else_under_official() -> None:
    found = report("score", *PAIR)
    assert found["official"] == EXPECTED
    assert found["counts"] == {"records": 48, "guesses": 48, "empty_guesses": 0, "kilt_counted": 29}
    assert found["note"] is None
    assert set(found["not_official"]["rouge_score"]) < set(found["intervals"]["figures"])
    low, high = found["intervals"]["figures"]["rougel"]
    assert low < EXPECTED["downstream"]["rougel"] < high


def test_figures_repeat_and_the_seed_changes_intervals_alone() -> None:
    assert report("score", *PAIR) == report("score", *PAIR)
    other = report("score", *PAIR, "--seed", "1")
    assert other["official"] == EXPECTED
    assert other["intervals"] != report("score", *PAIR)["intervals"]


def test_people_see_percent_and_every_digit_and_what_is_not_official() -> None:
    output = run("score", *PAIR).stdout
    rougel = EXPECTED["downstream"]["rougel"]
    assert f"{100 * rougel:.2f}" in output
    assert repr(rougel) in output
    official, other = output.split("Not official")
    assert "ROUGE-L" not in official
    assert "ROUGE-Lsum, stemmed" in other
    assert "Not official" not in run("score", *PAIR, "--no-google").stdout


def test_per_record_figures_are_the_official_ones_in_gold_order(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    report("score", *PAIR, "--per-record", path)
    expected = (TIES / "expected_per_record.jsonl").read_text().splitlines()
    assert path.read_text().splitlines() == expected
    assert list(tmp_path.iterdir()) == [path]


def test_a_refusal_leaves_the_earlier_output_alone(
    tmp_path: Path, write_records: WriteRecords
) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("earlier")
    gold = write_records("gold.jsonl", [{"id": 1, "input": "?", "output": [{"answer": "a"}]}])
    guess = write_records("guess.jsonl", [{"id": 1, "output": []}])
    result = run("score", guess, gold, "--per-record", path)
    assert_refused(result, 2, "guess.jsonl, line 1, record '1'")
    assert path.read_text() == "earlier"
    assert {file.name for file in tmp_path.iterdir()} == {path.name, guess.name, gold.name}


def test_wrong_input_exits_with_2_and_says_where(write_records: WriteRecords) -> None:
    gold = write_records("gold.jsonl", [{"id": 1}])
    assert_refused(run("score", "nowhere.jsonl", gold), 2, "nowhere.jsonl cannot be read")
    assert_refused(run("compare", gold, "nowhere.jsonl", gold), 2, "nowhere.jsonl cannot be read")


def test_output_that_cannot_be_written_exits_with_1(tmp_path: Path) -> None:
    absent = tmp_path / "absent" / "records.jsonl"
    assert_refused(run("score", *PAIR, "--per-record", absent), 1, "cannot be written")
    assert_refused(run("score", *PAIR, "--per-record", tmp_path), 1, "no regular file")


def test_wrong_usage_exits_with_2(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    assert run("score", *PAIR, "--retrieval-only", "--per-record", records).exit_code == 2
    assert run("score", PAIR[0]).exit_code == 2


def test_strict_refuses_what_is_else_warned_of(write_records: WriteRecords) -> None:
    gold = write_records("gold.jsonl", [{"id": "1", "input": "?", "output": [{"answer": "a"}]}])
    guess = write_records("guess.jsonl", [{"id": "1", "output": [{"answer": None}]}])
    warned = run("score", guess, gold)
    assert "Warning" in warned.stdout
    assert "the answer is no JSON string" in warned.stdout
    for mode in ((), ("--retrieval-only",)):
        odd = write_records("odd.jsonl", [{"id": 1, "output": [{"answer": "a", "provenance": []}]}])
        assert_refused(run("score", odd, gold, "--strict", *mode), 2, "the id is no JSON string")


def test_figures_over_derived_data_say_so(derived_pair: tuple[Path, Path]) -> None:
    note = "derived data, not official KILT"
    guess, gold = derived_pair
    for arguments in (
        ("score", guess, gold),
        ("score", guess, gold, "--retrieval-only"),
        ("compare", guess, guess, gold),
    ):
        found = report(*arguments)
        assert found["note"] == note
        assert found["derived_sources"] == {"nq-complex": 3}
        printed = run(*arguments).stdout
        assert f"({note})" in printed
        assert "nq-complex (3)" in printed


def test_retrieval_only_takes_what_eval_retrieval_takes(write_records: WriteRecords) -> None:
    page = {"wikipedia_id": "1", "text": "an a"}
    outputs = [{"answer": "a"}, {"provenance": [page]}]
    gold = write_records(
        "gold.jsonl",
        [{"id": "1", "input": "?", "output": [{"answer": "a"}, {"provenance": [page]}]}],
    )
    guess = write_records("guess.jsonl", [{"id": "1", "output": outputs}])
    assert_refused(run("score", guess, gold), 2, "found 2 outputs")
    figures = report("score", guess, gold, "--retrieval-only")["official"]["retrieval"]
    assert figures["Rprec"] == figures["recall@5"] == figures["answer_in_context@1"] == 1
    assert "answer_and_ent_in_context@20" in run("score", guess, gold, "--retrieval-only").stdout


def test_a_record_that_kills_the_official_scorer_is_scored_and_named(
    write_records: WriteRecords,
) -> None:
    gold = write_records("gold.jsonl", [{"id": "deep", "input": "?", "output": [{"answer": "y"}]}])
    guess = write_records("guess.jsonl", [{"id": "deep", "output": [{"answer": "x " * 1200}]}])
    found = report("score", guess, gold)
    assert found["official_would_crash"] == ["deep"]
    assert any("RecursionError" in warning for warning in found["warnings"])
    assert "RecursionError" in run("score", guess, gold).stdout


def test_ids_and_sources_may_hold_lone_surrogates(write_records: WriteRecords) -> None:
    name = " \ud800"
    meta = {"source": name}
    gold = [{"id": name, "input": name, "output": [{"answer": name}], "meta": meta}]
    paths = write_records("guess.jsonl", gold), write_records("gold.jsonl", gold)
    assert report("score", *paths)["derived_sources"] == {name: 1}
    assert run("score", *paths).exit_code == 0
    assert_refused(run("score", *paths, "--strict"), 2, "line 1")


def test_files_without_records_give_integers_and_no_intervals(write_records: WriteRecords) -> None:
    empty = write_records("empty.jsonl", [])
    found = report("score", empty, empty)
    assert json.dumps(found["official"]["downstream"]["f1"]) == "0"
    assert set(found["intervals"]["figures"].values()) == {None}
    assert run("score", empty, empty).exit_code == 0
    assert report("compare", empty, empty, empty)["differences"]["f1"]["p_value"] == 1


def test_compare_finds_a_difference_and_its_direction(tmp_path: Path) -> None:
    worse = tmp_path / "worse.jsonl"
    lines = [json.loads(line) for line in Path(PAIR[0]).read_text().splitlines()]
    for line in lines:
        line["output"][0]["answer"] = "9 " + line["output"][0]["answer"][:2]
    worse.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = report("compare", PAIR[0], worse, PAIR[1])
    row = found["differences"]["rougel"]
    official = found["official"]
    assert official["a"] == EXPECTED
    sides = (official[side]["downstream"]["rougel"] for side in "ba")
    assert row["difference"] == pytest.approx(next(sides) - next(sides))
    assert row["interval"][0] < row["difference"] < row["interval"][1] < 0
    assert row["p_value"] < 0.001
    assert row["worse"] > row["better"]
    unchanged = found["differences"]["Rprec"]
    assert (unchanged["difference"], unchanged["p_value"]) == (0, 1)
    printed = run("compare", PAIR[0], worse, PAIR[1]).stdout
    assert f"{100 * row['difference']:+.2f}" in printed


@pytest.mark.parametrize("command", ["score", "compare"])
def test_help_has_an_example(command: str) -> None:
    assert f"Example: {command} " in run(command, "--help").stdout
