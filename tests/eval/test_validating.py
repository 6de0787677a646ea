"""Guess files that cannot be submitted: every problem, with its place."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eval.records import RecordFile
from eval.validating import find_problems
from tests.conftest import run_rag_rt
from tests.eval.conftest import WriteRecords

QUESTIONS = [{"id": "a", "input": "Why?"}, {"id": "b", "input": "How?"}, {"id": "c", "input": "?"}]
PAGE = {"wikipedia_id": "10", "title": "Ocean"}


def guess(record_id: Any, answer: Any = "So.", **more: Any) -> dict[str, Any]:
    return {"id": record_id, "output": [{"answer": answer, "provenance": [PAGE]}], **more}


@pytest.fixture
def questions(write_records: WriteRecords) -> Path:
    return write_records("questions.jsonl", QUESTIONS)


def problems(path: Path, questions: Path) -> list[tuple[int, str | None, str]]:
    with closing(RecordFile(questions)) as records:
        return [(p.line, p.record_id, p.text) for p in find_problems(path, records)]


def test_answers_in_any_order_can_be_submitted(
    write_records: WriteRecords, questions: Path
) -> None:
    path = write_records("guess.jsonl", [guess("c"), guess("a", input="Why?"), guess("b")])
    assert problems(path, questions) == []


def test_every_problem_is_named_with_its_place(
    write_records: WriteRecords, questions: Path
) -> None:
    no_page = [{"answer": "So.", "provenance": [{"title": "Ocean"}, {"title": "Sea"}]}]
    path = write_records(
        "guess.jsonl",
        [
            guess("a", " "),
            guess("a"),
            {"id": "b", "output": no_page, "input": "Why?"},
            guess("x"),
            {"id": "y"},
            [],
            guess("b", output=[]),
        ],
    )
    found = problems(path, questions)
    assert [(line, record) for line, record, _ in found] == [
        (1, "a"), (2, "a"), (3, "b"), (3, "b"), (4, "x"), (5, "y"), (5, "y"), (6, None),
        (7, "b"), (7, "b"), (3, "c"),
    ]  # fmt: skip
    expected = [
        "the answer is empty",
        "stands on line 1 already",
        "'input' is not the question",
        "no wikipedia_id",
        "no gold record has this id",
        "no gold record has this id",
        "output",
        "expected a JSON object",
        "stands on line 3 already",
        "exactly one output",
        "has no guess for this id",
    ]
    for (_, _, text), part in zip(found, expected, strict=True):
        assert part in text


def test_the_command_says_all_and_ends_with_2(write_records: WriteRecords, questions: Path) -> None:
    path = write_records("guess.jsonl", [guess("a", ""), guess("b")])
    outcome = run_rag_rt("eval", "validate", str(path), str(questions))
    assert outcome.returncode == 2
    assert outcome.stdout == f"{path}: problems: 2\n"
    first, second = outcome.stderr.splitlines()
    assert first.startswith(f"{path}, line 1, record 'a': the answer is empty")
    assert second.startswith(f"{questions}, line 3, record 'c': ")
    as_json = run_rag_rt("eval", "validate", str(path), str(questions), "--json")
    assert as_json.returncode == 2
    content = json.loads(as_json.stdout)
    assert [problem["record"] for problem in content["problems"]] == ["a", "c"]
    assert content["valid"] is False


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, questions: Path) -> None:
    outcome = run_rag_rt("eval", "validate", str(tmp_path / "none"), str(questions))
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("error: ")
    assert "Traceback" not in outcome.stderr
