import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from eval import predicting
from eval.errors import BadQuestion, OutputNotWritten, PartialMismatch
from eval.predicting import Options
from rag_rt.answerer import Answerer
from tests.conftest import ROOT

QUESTIONS = ["Why is the ocean salty?", "What is gold?", "How do vaccines work?", "What is a cell?"]
QUICK = Options(k=3, max_tokens=6)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    records = [{"id": n, "input": q, "output": []} for n, q in enumerate(QUESTIONS)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def predict(
    answerer: Answerer, questions: Path, out: Path, options: Options = QUICK
) -> list[dict[str, Any]]:
    predicting.predict(answerer, questions, out, options, lambda done, total: None)
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_every_question_gets_one_answer_in_order(
    answerer: Answerer, questions: Path, tmp_path: Path
) -> None:
    guesses = predict(answerer, questions, tmp_path / "guess.jsonl")
    assert [guess["input"] for guess in guesses] == QUESTIONS
    for guess in guesses:
        (output,) = guess["output"]
        assert output["answer"]
        assert 1 <= len(output["provenance"]) <= 3
    leftovers = {path.name for path in tmp_path.iterdir()}
    assert leftovers == {"questions.jsonl", "guess.jsonl"}


def test_titles_of_the_starter_corpus_do_not_pass_for_wikipedia_ids(
    answerer: Answerer, questions: Path, tmp_path: Path
) -> None:
    guesses = predict(answerer, questions, tmp_path / "guess.jsonl")
    pages = [page for guess in guesses for page in guess["output"][0]["provenance"]]
    assert all(set(page) == {"title"} for page in pages)


def test_a_finished_guess_file_is_not_written_over(
    answerer: Answerer, questions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "guess.jsonl"
    out.write_text("mine")
    with pytest.raises(OutputNotWritten, match="there already"):
        predict(answerer, questions, out)
    assert out.read_text() == "mine"


@pytest.mark.parametrize("record", [{"id": 1}, {"id": 1, "input": 5}, {"id": 1, "input": "?"}])
def test_a_record_that_cannot_be_asked_is_named_before_any_is_answered(
    answerer: Answerer, tmp_path: Path, record: dict[str, Any]
) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"id": 0, "input": "Why?"}) + "\n" + json.dumps(record))
    with pytest.raises(BadQuestion, match=r"questions\.jsonl, line 2, record '1'"):
        predict(answerer, path, tmp_path / "guess.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["questions.jsonl"]


def test_a_stopped_run_is_not_gone_on_with_under_other_settings(
    answerer: Answerer, questions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "guess.jsonl"
    predict(answerer, questions, out)
    partial = tmp_path / "guess.jsonl.partial"
    partial.write_text('{"k": 4}\n')
    out.unlink()
    with pytest.raises(PartialMismatch, match="other settings"):
        predict(answerer, questions, out)


def test_a_killed_run_goes_on_and_ends_with_the_same_file(
    answerer: Answerer, questions: Path, tmp_path: Path
) -> None:
    predict(answerer, questions, tmp_path / "undisturbed.jsonl")
    out = tmp_path / "guess.jsonl"
    command = [sys.executable, str(ROOT / "eval" / "run_kilt.py"), "predict"]
    command += ["--questions", str(questions), "--out", str(out), "--k", "3", "--max-tokens", "6"]
    delays, partial = random.Random(0), tmp_path / "guess.jsonl.partial"
    process = subprocess.Popen(command)
    while not partial.exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(delays.uniform(0.2, 1))
    process.send_signal(signal.SIGKILL)
    process.wait()
    with partial.open("ab") as file:
        file.write(b'{"id": "3", "inp')  # as if it had been killed while writing
    subprocess.run(command, check=True)
    assert out.read_bytes() == (tmp_path / "undisturbed.jsonl").read_bytes()
    assert not partial.exists()
