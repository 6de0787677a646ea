import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rag_rt.cli import app
from rag_rt.errors import InvalidRequest
from tests.conftest import RAG_RT, run_rag_rt

SEA = "The sea is salty. Rivers carry dissolved salts into it. It covers 70.8% of Earth."
RECORD = {
    "id": "sea",
    "question": "Why is the sea salty?",
    "answer": "Rivers carry dissolved salts into the sea. It covers 90.8% of Earth. 🌊 Napoleon!",
    "passages": [{"id": "p1", "title": "Sea", "text": SEA}],
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    path.write_text(json.dumps(RECORD) + "\n" + json.dumps({**RECORD, "id": 2, "answer": ""}))
    return path


def test_each_answer_is_one_line_of_json_with_its_quotes(answers: Path) -> None:
    done = CliRunner().invoke(app, ["ground", str(answers), "--json"])
    first, second = map(json.loads, done.stdout.splitlines())
    assert second == {"id": 2, "sentences": []}
    assert first["id"] == "sea"
    assert [s["label"] for s in first["sentences"]] == ["supported", "partly", "unsupported"]
    for sentence in first["sentences"]:
        assert set(sentence) == {"start", "end", "label", "probability", "evidence"}
        assert (not sentence["evidence"]) is (sentence["label"] == "unsupported")
        for evidence in sentence["evidence"]:
            assert evidence["passage_id"] == "p1"
            assert SEA[evidence["start"] : evidence["end"]] == evidence["quote"]
            assert 0 <= evidence["score"] <= 1
    third = first["sentences"][2]
    assert RECORD["answer"][third["start"] : third["end"]] == "🌊 Napoleon!"


def test_standard_input_is_read_and_answers_are_grounded_as_they_come() -> None:
    with subprocess.Popen(
        [RAG_RT, "ground", "-", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(RECORD) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == "sea"  # the input is still open
        process.stdin.close()
        assert process.wait(60) == 0


def test_people_read_labels_quotes_and_counts(answers: Path) -> None:
    done = CliRunner().invoke(app, ["ground", str(answers)])
    assert "p1: “Rivers carry dissolved salts into it.”" in done.stdout
    assert done.stdout.splitlines()[-1] == "3 sentences: 1 supported, 1 partly, 1 unsupported"


def test_a_broken_line_ends_with_2_after_the_lines_before_it(tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text(json.dumps(RECORD) + "\n{\n")
    done = run_rag_rt("ground", str(path), "--json")
    assert done.returncode == 2
    assert f"{path}, line 2: " in done.stderr
    assert len(done.stdout.splitlines()) == 1
    for wrong in (tmp_path / "none.jsonl", tmp_path):
        refused = CliRunner().invoke(app, ["ground", str(wrong)]).exception
        assert isinstance(refused, InvalidRequest)
