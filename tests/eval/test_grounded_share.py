"""The share of supported sentences, from what a run recorded, read, or never told."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eval.grounded_share import Source, SupportFinder, support_report
from eval.run_kilt import app
from eval.runs import Details, details_path, write_details
from rag_rt.settings import Settings
from tests.eval.conftest import WriteRecords, WriteRun
from tests.eval.files import hit

SALT = "The salt of the ocean comes from rocks on land. Rivers carry it to the sea."
ANSWER = "The salt of the ocean comes from rocks on land. Elephants are large mammals."
NOWHERE = Path("nowhere")


@pytest.fixture
def gold(write_records: WriteRecords) -> Path:
    record = {"id": "0", "input": "Why is the ocean salty?", "output": [{"answer": "Rivers."}]}
    return write_records("gold.jsonl", [record])


def report(guess: Path, gold: Path, index: Path | None = None) -> dict[str, Any]:
    finder = SupportFinder(Settings(), index)
    return support_report(guess, gold, finder, seed=0, progress=lambda done, total: None)


def test_what_a_run_recorded_is_counted_without_models(gold: Path, write_run: WriteRun) -> None:
    guess = write_run("guess.jsonl", [(ANSWER, [hit("Salt", SALT)])])
    found = report(guess, gold, NOWHERE)
    assert found["supported"]["share"] == 0.5
    assert (found["supported"]["sentences"], found["supported"]["of"]) == (1, 2)
    assert found["support_from"] == {Source.RECORDED: 1}
    assert found["per_record"] == [{"id": "0", "supported": 1, "sentences": 2}]


def test_passages_without_sentences_are_grounded_now(gold: Path, write_run: WriteRun) -> None:
    guess = write_run("guess.jsonl", [(ANSWER, [hit("Salt", SALT)])])
    line = Details("0", (hit("Salt", SALT),)).as_json()
    write_details(details_path(guess), {}, [line])
    found = report(guess, gold, NOWHERE)
    assert found["supported"]["share"] == 0.5
    assert found["support_from"] == {Source.READ: 1}


def test_a_bare_guess_file_is_grounded_in_passages_retrieved_now(
    gold: Path, write_records: WriteRecords
) -> None:
    answer = "Salt in the ocean comes from rocks on land. Elephants are large mammals."
    guess = write_records("guess.jsonl", [{"id": "0", "output": [{"answer": answer}]}])
    found = report(guess, gold)
    assert found["support_from"] == {Source.RETRIEVED: 1}
    assert found["supported"]["of"] == 2
    assert found["supported"]["sentences"] < 2


def test_empty_answers_have_no_sentences(gold: Path, write_run: WriteRun) -> None:
    found = report(write_run("guess.jsonl", [("", [hit("Salt", SALT)])]), gold)
    assert found["supported"] == {"sentences": 0, "of": 0, "share": None, "interval": None}
    assert found["answers"]["with_sentences"] == 0
    run = write_run("guess.jsonl", [("", [hit("Salt", SALT)])])
    assert CliRunner().invoke(app, ["ground", str(run), str(gold)]).exit_code == 0


def test_the_command_says_what_is_derived(write_records: WriteRecords, write_run: WriteRun) -> None:
    record = {"id": "0", "input": "?", "output": [{"answer": "a"}], "meta": {"source": "eli5"}}
    gold = write_records("gold.jsonl", [record])
    guess = write_run("guess.jsonl", [(ANSWER, [hit("Salt", SALT)])])
    printed = CliRunner().invoke(app, ["ground", str(guess), str(gold)]).stdout
    assert "(derived data, not official KILT)" in printed
    assert "50.00" in printed
    found = json.loads(CliRunner().invoke(app, ["ground", str(guess), str(gold), "--json"]).stdout)
    assert found["note"] == "derived data, not official KILT"
