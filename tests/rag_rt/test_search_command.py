"""`rag-rt index search` over the starter index."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from rag_rt.search_command import read_queries, search
from rag_rt.settings import Settings
from retriever.encoders import Encoder
from retriever.errors import ArtefactMissing, QueryError
from retriever.index import Index
from retriever.searching import Retriever

QUESTIONS: list[dict[str, Any]] = [
    {"id": "a", "input": "Why is the ocean salty?", "output": [{"answer": "rivers"}]},
    {"id": 7, "input": "Who discovered radium?"},
]
Ask = Callable[..., str]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], settings: Settings) -> Ask:
    def ask(**options: Any) -> str:
        chosen: dict[str, Any] = {"directory": settings.index_directory, "k": 3, **options}
        search(**chosen)
        return capsys.readouterr().out

    return ask


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, QUESTIONS)) + "\n\n", encoding="utf-8")
    return path


def test_each_record_is_answered_by_a_line_as_the_retriever_finds(
    ask: Ask, file: Path, settings: Settings, encoder: Encoder
) -> None:
    retriever = Retriever(Index(settings.index_directory), encoder)
    lines = [json.loads(line) for line in ask(queries=str(file), as_json=True).splitlines()]
    assert [line["id"] for line in lines] == ["a", 7]
    for line, record in zip(lines, QUESTIONS, strict=True):
        hits = retriever.search(record["input"], 3)
        assert [hit["passage_id"] for hit in line["hits"]] == [hit.passage.id for hit in hits]
        for hit in line["hits"]:
            assert set(hit) == {"passage_id", "page_id", "title", "score", "start", "end", "text"}
            assert len(hit["text"]) == hit["end"] - hit["start"]


@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
def test_the_mode_is_the_one_that_is_named(
    ask: Ask, file: Path, mode: Any, settings: Settings, encoder: Encoder
) -> None:
    retriever = Retriever(Index(settings.index_directory), encoder)
    first, _ = ask(queries=str(file), mode=mode, as_json=True).splitlines()
    scores = [hit["score"] for hit in json.loads(first)["hits"]]
    expected = [hit.score for hit in retriever.search(QUESTIONS[0]["input"], 3, mode)]
    assert scores == pytest.approx(expected, abs=1e-2)


def test_standard_input_is_answered_line_by_line(
    ask: Ask, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Waiting(io.BytesIO):
        """Gives the second question only when the first is answered."""

        def __next__(self) -> bytes:
            if self.tell():
                answered.append(printed.getvalue())
            return super().__next__()

    answered: list[str] = []
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stdin", type("Input", (), {"buffer": Waiting(file.read_bytes())}))
    monkeypatch.setattr(sys, "stdout", printed)
    search(directory=Settings().index_directory, queries="-", k=1, as_json=True)
    assert json.loads(answered[0])["id"] == "a"


def test_a_person_reads_rank_score_title_and_text(ask: Ask) -> None:
    printed = ask(question="Why is the ocean salty?")
    assert printed.startswith("Why is the ocean salty?\n  1 ")
    assert "Ocean" in printed
    assert "No passage holds" in ask(question="zzzz qqqq", mode="bm25")


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "3",
        '{"id": "b"}',
        '{"id": null, "input": "Why?"}',
        '{"id": 1, "input": " "}',
        "\xff",
    ],
)
def test_a_bad_line_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(json.dumps(QUESTIONS[0]).encode() + b"\n\n" + line.encode("latin-1"))
    records = read_queries(str(path))
    assert next(records).id == "a"
    with pytest.raises(QueryError, match=r"questions.jsonl, line 3: .*line"):
        next(records)


def test_what_cannot_be_searched_is_an_error(ask: Ask, file: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactMissing, match="nowhere"):
        ask(directory=tmp_path / "nowhere", queries=str(file))
    with pytest.raises(QueryError, match=r"absent.jsonl cannot be read: No such file"):
        ask(queries=str(tmp_path / "absent.jsonl"))
    for options in ({}, {"question": "Why?", "queries": str(file)}):
        with pytest.raises(typer.BadParameter, match="not both"):
            ask(**options)


def test_a_file_without_records_prints_nothing(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    assert ask(queries=str(tmp_path / "empty.jsonl"), as_json=True) == ""
