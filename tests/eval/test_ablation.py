"""Runs with true and with random passages: what changes, and what it is measured by."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eval.ablation import ablation_report, verdict
from eval.errors import NotDiagnosable
from eval.ngram_overlap import PassageWords
from eval.run_kilt import app
from eval.runs import details_path, read_run, write_details
from tests.eval.conftest import WriteRecords, WriteRun
from tests.eval.files import hit

COUNT = 30


def true_text(n: int) -> str:
    return f"Salt{n} comes from rock{n} and rain{n}. Rivers{n} carry it."


def random_text(n: int) -> str:
    return f"Bees{n} dance about flowers{n}. Queens{n} lay eggs."


@pytest.fixture
def gold(write_records: WriteRecords) -> Path:
    golds = [
        {
            "id": str(n),
            "input": f"Why is ocean{n} salty?",
            "output": [{"answer": true_text(n), "provenance": [{"wikipedia_id": f"true{n}"}]}],
        }
        for n in range(COUNT)
    ]
    return write_records("gold.jsonl", golds)


@pytest.fixture
def true(write_run: WriteRun) -> Path:
    """Every answer repeats the passage it was written from."""
    answers = [(true_text(n), [hit(f"true{n}", true_text(n))]) for n in range(COUNT)]
    return write_run("true.jsonl", answers)


def report(true: Path, random: Path, gold: Path) -> dict[str, Any]:
    return ablation_report(true, random, gold, seed=0, progress=lambda done, total: None)


def test_answers_that_repeat_what_they_read_change_with_it(
    true: Path, gold: Path, write_run: WriteRun
) -> None:
    answers = [(random_text(n), [hit(f"random{n}", random_text(n))]) for n in range(COUNT)]
    found = report(true, write_run("random.jsonl", answers), gold)
    assert found["overlap"]["unigram"]["true_answers"] == {"true": 1, "random": 0}
    assert found["overlap"]["unigram"]["random_answers"] == {"true": 0, "random": 1}
    assert found["overlap"]["bigram"]["gold_answers"] == {"true": 1, "random": 0}
    assert found["overlap"]["content"]["change"]["interval"] == (-1, -1)
    assert found["figures"]["differences"]["rougel"]["difference"] < -0.9
    assert found["figures"]["differences"]["Rprec"]["difference"] == -1
    assert found["answers"]["supported"]["difference"] == 0
    assert found["counts"] == {"records": COUNT, "equal_answers": 0, "with_a_shared_page": 0}


def test_answers_that_do_not_read_are_found_out(
    true: Path, gold: Path, write_run: WriteRun
) -> None:
    answers = [(true_text(n), [hit(f"random{n}", random_text(n))]) for n in range(COUNT)]
    random = write_run("random.jsonl", answers)
    found = report(true, random, gold)
    assert found["overlap"]["content"]["change"]["difference"] == 0
    assert found["figures"]["differences"]["rougel"]["p_value"] == 1
    assert found["answers"]["supported"]["difference"] == -1
    assert found["counts"]["equal_answers"] == COUNT
    printed = CliRunner().invoke(app, ["ablate", str(true), str(random), str(gold)]).stdout
    assert "Not shown that the answers use what was retrieved" in printed


def test_a_control_that_shares_pages_is_told(true: Path, gold: Path) -> None:
    assert report(true, true, gold)["counts"]["with_a_shared_page"] == COUNT


def test_runs_that_differ_in_more_than_passages_are_told(true: Path, gold: Path) -> None:
    assert report(true, true, gold)["warnings"] == []
    random = true.with_name("random.jsonl")
    random.write_bytes(true.read_bytes())
    lines = [details.as_json() for details in read_run(true).details.values()]
    control = {"random_passages": 0}
    for k, warnings in ((1, 0), (5, 1)):
        settings = {"reader": {"seed": 0}, "k": k, "retriever": control}
        write_details(details_path(random), settings, lines)
        assert len(report(true, random, gold)["warnings"]) == warnings


def test_a_run_without_passages_is_refused(
    true: Path, gold: Path, write_records: WriteRecords, write_run: WriteRun
) -> None:
    guesses = [{"id": str(n), "output": [{"answer": "a"}]} for n in range(COUNT)]
    alone = write_records("alone.jsonl", guesses)
    with pytest.raises(NotDiagnosable, match=r"alone\.details\.jsonl has nothing for record '0'"):
        report(alone, true, gold)
    closed_book = write_run("closed.jsonl", [("a", ())] * COUNT)
    with pytest.raises(NotDiagnosable, match="knows no passages for record '0'"):
        report(true, closed_book, gold)
    result = CliRunner().invoke(app, ["ablate", str(alone), str(true), str(gold)])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def test_shares_are_what_a_hand_counts() -> None:
    words = PassageWords.of([hit("Salt", "The salt comes from rocks, 3.5 % of it.")])
    unigram, bigram, content = words.shares(
        "The salt comes from seas: 3.5 of it.", "What salt comes from where?"
    )
    # salt comes from seas 35 of it: six of seven stand there
    assert unigram == pytest.approx(6 / 7)
    # "from seas" and "seas 35" do not, "35 of" does
    assert bigram == pytest.approx(4 / 6)
    # of seas and 3.5: the question holds salt and comes
    assert content == pytest.approx(1 / 2)
    assert words.shares("", "?") == (0, 0, 0)


def test_ngrams_do_not_run_from_one_passage_into_the_next() -> None:
    words = PassageWords.of([hit("A1", "red rock"), hit("B1", "blue rain")])
    assert words.shares("rock b1", "?")[1] == 0
    assert words.shares("a1 red", "?")[1] == 0
    assert words.shares("red rock", "?")[1] == 1


def test_derived_data_is_said_so(write_records: WriteRecords, write_run: WriteRun) -> None:
    record = {"id": "0", "input": "?", "output": [{"answer": "a"}], "meta": {"source": "eli5"}}
    gold = write_records("gold.jsonl", [record])
    run = write_run("guess.jsonl", [("a b", [hit("T", "a b")])])
    arguments = ["ablate", str(run), str(run), str(gold)]
    note = "derived data, not official KILT"
    printed = CliRunner().invoke(app, arguments).stdout
    assert printed.count(f"({note})") == 2
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert found["note"] == note
    assert found["rougel_overlap_spearman"] is None


def test_one_question_shows_nothing(
    write_records: WriteRecords, write_run: WriteRun, tmp_path: Path
) -> None:
    """Its interval is a point; the sign-flip test of it never gets below 1."""
    gold = write_records("gold.jsonl", [{"id": "0", "input": "?", "output": [{"answer": "sea"}]}])
    true = write_run("guess.jsonl", [("salt sea", [hit("T", "salt sea")])])
    random = write_run("random.jsonl", [("red moon", [hit("M", "red moon")])])
    found = report(true, random, gold)
    assert found["overlap"]["content"]["change"]["difference"] == -1
    assert verdict(found).startswith("Not shown")


def test_runs_in_the_wrong_order_are_told(true: Path, gold: Path) -> None:
    lines = [details.as_json() for details in read_run(true).details.values()]
    write_details(details_path(true), {"retriever": {"random_passages": 0}}, lines)
    (warning,) = report(true, true, gold)["warnings"]
    assert "was written from random passages itself" in warning


def test_a_pipe_is_refused_where_it_would_be_read_twice(true: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "gold.pipe"
    os.mkfifo(pipe)
    for command in ("ablate", "compare"):
        result = CliRunner().invoke(app, [command, str(true), str(true), str(pipe)])
        assert result.exit_code == 2
        assert "is a pipe" in result.stderr
