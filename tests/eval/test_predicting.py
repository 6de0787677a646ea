import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eval import predicting
from eval.errors import BadId, BadQuestion, OutputNotWritten, PartialMismatch
from eval.run_kilt import app
from eval.runs import read_run
from eval.systems import Reading, System
from eval.systems.pipeline import PipelineReader
from rag_rt.answerer import Answerer
from retriever import Hit
from retriever.encoders import Progress

QUESTIONS = ["Why is the ocean salty?", "What is gold?", "How do vaccines work?", "What is a cell?"]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    records = [{"id": n, "input": q, "output": []} for n, q in enumerate(QUESTIONS)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="module")
def system(answerer: Answerer) -> System:
    return System(PipelineReader(answerer, max_tokens=6, seed=0), answerer.retriever, 3)


def predict(
    system: System, questions: Path, out: Path, batch_size: int = 3
) -> list[dict[str, Any]]:
    def ignore(done: int, total: int) -> None:
        pass

    predicting.predict(
        system, predicting.read_questions(questions), out, batch_size=batch_size, progress=ignore
    )
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_every_question_gets_one_answer_in_order(
    system: System, questions: Path, tmp_path: Path
) -> None:
    guesses = predict(system, questions, tmp_path / "guess.jsonl")
    assert [guess["input"] for guess in guesses] == QUESTIONS
    for guess in guesses:
        (output,) = guess["output"]
        assert output["answer"]
        assert 1 <= len(output["provenance"]) <= 3
    leftovers = {path.name for path in tmp_path.iterdir()}
    assert leftovers == {"questions.jsonl", "guess.jsonl", "guess.details.jsonl"}


def test_the_details_of_a_run_tell_its_passages_and_sentences(
    system: System, questions: Path, tmp_path: Path
) -> None:
    guesses = predict(system, questions, tmp_path / "guess.jsonl")
    run = read_run(tmp_path / "guess.jsonl")
    assert run.settings["reader"]["generator"] == "SmolLM2-135M-Instruct"
    assert run.settings["retriever"]["index"]["source"] == "starter"
    for guess in guesses:
        details = run.details[guess["id"]]
        titles = [hit.passage.title for hit in details.hits]
        assert titles == [entry["title"] for entry in guess["output"][0]["provenance"]]
        assert details.sentences is not None
        assert details.usage is not None


def test_titles_of_the_starter_corpus_do_not_pass_for_wikipedia_ids(
    system: System, questions: Path, tmp_path: Path
) -> None:
    guesses = predict(system, questions, tmp_path / "guess.jsonl")
    pages = [page for guess in guesses for page in guess["output"][0]["provenance"]]
    assert all(set(page) == {"title"} for page in pages)


def test_a_finished_guess_file_is_not_written_over(
    system: System, questions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "guess.jsonl"
    out.write_text("mine")
    with pytest.raises(OutputNotWritten, match="there already"):
        predict(system, questions, out)
    assert out.read_text() == "mine"


@pytest.mark.parametrize("record", [{"id": 1}, {"id": 1, "input": 5}, {"id": 1, "input": "?"}])
def test_a_record_that_cannot_be_asked_is_named_before_any_is_answered(
    system: System, tmp_path: Path, record: dict[str, Any]
) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"id": 0, "input": "Why?"}) + "\n" + json.dumps(record))
    with pytest.raises(BadQuestion, match=r"questions\.jsonl, line 2, record '1'"):
        predict(system, path, tmp_path / "guess.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["questions.jsonl"]


def test_a_question_that_stands_twice_is_named(
    system: System, questions: Path, tmp_path: Path
) -> None:
    with questions.open("a") as file:
        file.write(json.dumps({"id": " 1", "input": "Why?"}) + "\n")
    with pytest.raises(BadId, match=r"line 5, record '1'.*stands on an earlier line"):
        predict(system, questions, tmp_path / "guess.jsonl")


def test_a_stopped_run_is_not_gone_on_with_for_other_questions(
    system: System, questions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "guess.jsonl"
    with pytest.raises(Stopped):
        predicting.predict(
            system, predicting.read_questions(questions), out, batch_size=1, progress=stop_after(2)
        )
    questions.write_text(questions.read_text().replace("gold", "silver"))
    with pytest.raises(PartialMismatch, match="other settings or questions"):
        predict(system, questions, out, batch_size=1)


class Stopped(Exception):
    pass


def stop_after(answers: int) -> Progress:
    def progress(done: int, total: int) -> None:
        if done >= answers:
            raise Stopped

    return progress


class Recording:
    """A reader that keeps what it is asked, and signs its answers."""

    settings: Mapping[str, Any] = {}

    def __init__(self, name: str, *, independent: bool = False) -> None:
        self.name = name
        self.independent = independent
        self.batches: list[Sequence[str]] = []

    def read(self, questions: Sequence[str], passages: Sequence[tuple[Hit, ...]]) -> list[Reading]:
        self.batches.append(questions)
        return [
            Reading(f"{self.name}: {q}", hits) for q, hits in zip(questions, passages, strict=True)
        ]


def test_a_batch_that_was_stopped_half_way_is_answered_whole_again(
    questions: Path, tmp_path: Path
) -> None:
    """What shares a batch with a question decides on the last bits of its numbers."""
    out, partial = tmp_path / "guess.jsonl", tmp_path / "guess.jsonl.partial"
    closed = System(Recording("first"), None, 1)
    with pytest.raises(Stopped):
        predicting.predict(
            closed, predicting.read_questions(questions), out, batch_size=3, progress=stop_after(3)
        )
    lines = partial.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4  # the settings and three answers
    partial.write_bytes(b"".join(lines[:3]) + lines[3][:20])
    again = Recording("again")
    guesses = predict(System(again, None, 1), questions, out)
    assert again.batches == [QUESTIONS[:3], QUESTIONS[3:]]
    writers = [g["output"][0]["answer"].partition(":")[0] for g in guesses]
    assert writers == ["first", "first", "again", "again"]
    assert not partial.exists()


def test_a_stopped_run_is_not_gone_on_with_under_other_settings(
    system: System, questions: Path, tmp_path: Path
) -> None:
    out, partial = tmp_path / "guess.jsonl", tmp_path / "guess.jsonl.partial"
    with pytest.raises(Stopped):
        predicting.predict(
            system,
            predicting.read_questions(questions),
            out,
            batch_size=1,
            progress=stop_after(1),
        )
    answers_always = System(
        PipelineReader(deaf_to_coverage(system), max_tokens=6, seed=0), system.searcher, 3
    )
    with pytest.raises(PartialMismatch, match=r"\(reader\.min_relevance was 0\.45, is None\)"):
        predict(answers_always, questions, out, batch_size=1)
    assert partial.exists()


def deaf_to_coverage(system: System) -> Answerer:
    """The same pipeline, which answers always."""
    assert isinstance(system.reader, PipelineReader)
    first = system.reader._answerer
    return Answerer(first.retriever, first.generator, first.form, min_relevance=None)


@pytest.mark.parametrize("content", [b"mine\n", b"[]\n", b'{"k": 4}\n', b"\xff\n\n"])
def test_what_is_no_stopped_run_is_said_and_kept(
    questions: Path, tmp_path: Path, content: bytes
) -> None:
    partial = tmp_path / "guess.jsonl.partial"
    partial.write_bytes(content)
    with pytest.raises(PartialMismatch, match="no stopped run"):
        predict(System(Recording("any"), None, 1), questions, tmp_path / "guess.jsonl")
    assert partial.read_bytes() == content


def test_two_runs_do_not_write_one_file(questions: Path, tmp_path: Path) -> None:
    class Meeting(Recording):
        def read(
            self, questions: Sequence[str], passages: Sequence[tuple[Hit, ...]]
        ) -> list[Reading]:
            with pytest.raises(OutputNotWritten, match="another process is writing"):
                predict(System(Recording("second"), None, 1), path, out)
            return super().read(questions, passages)

    path, out = questions, tmp_path / "guess.jsonl"
    guesses = predict(System(Meeting("first"), None, 1), path, out)
    assert len(guesses) == len(QUESTIONS)


def test_a_file_without_questions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()
    with pytest.raises(BadQuestion, match="the file is empty"):
        predicting.read_questions(path)


def test_of_independent_answers_only_the_lost_are_written_again(
    questions: Path, tmp_path: Path
) -> None:
    """Record by record: the pipeline decodes one answer after the other."""
    out = tmp_path / "guess.jsonl"
    closed = System(Recording("first", independent=True), None, 1)
    with pytest.raises(Stopped):
        predicting.predict(
            closed, predicting.read_questions(questions), out, batch_size=3, progress=stop_after(2)
        )
    again = Recording("again", independent=True)
    guesses = predict(System(again, None, 1), questions, out)
    assert again.batches == [QUESTIONS[2:3], QUESTIONS[3:]]
    writers = [g["output"][0]["answer"].partition(":")[0] for g in guesses]
    assert writers == ["first", "first", "again", "again"]


def test_every_answer_of_the_pipeline_is_kept_as_soon_as_it_is_there(
    system: System, questions: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        predicting.predict(
            system,
            predicting.read_questions(questions),
            tmp_path / "guess.jsonl",
            batch_size=4,
            progress=stop_after(1),
        )
    lines = (tmp_path / "guess.jsonl.partial").read_text().splitlines()
    assert [json.loads(line)["guess"]["input"] for line in lines[1:]] == QUESTIONS[:1]


class EmptyReader(Recording):
    def read(self, questions: Sequence[str], passages: Sequence[tuple[Hit, ...]]) -> list[Reading]:
        return [Reading("", hits) for hits in passages]


@pytest.mark.parametrize(("reader", "code"), [(Recording("any"), 0), (EmptyReader("any"), 1)])
def test_the_command_fails_where_its_answers_cannot_be_submitted(
    monkeypatch: pytest.MonkeyPatch, questions: Path, tmp_path: Path, reader: Recording, code: int
) -> None:
    """An untrained model would do; which of its answers are empty, nobody could foresee."""
    monkeypatch.setattr("eval.systems.open_system", lambda *_, **__: System(reader, None, 1))
    out = tmp_path / "guess.jsonl"
    result = CliRunner().invoke(app, ["predict", "--questions", str(questions), "--out", str(out)])
    assert result.exit_code == code
    assert out.exists()
    assert ("line 1, record '0': the answer is empty" in result.stderr) == bool(code)


def test_the_command_reads_questions_from_a_pipe(
    monkeypatch: pytest.MonkeyPatch, questions: Path, tmp_path: Path
) -> None:
    """As `--questions <(xz -dc questions.jsonl.xz)`, which can be read once."""
    monkeypatch.setattr(
        "eval.systems.open_system", lambda *_, **__: System(Recording("any"), None, 1)
    )
    pipe, out = tmp_path / "pipe", tmp_path / "guess.jsonl"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(pipe.write_bytes, questions.read_bytes())
        result = CliRunner().invoke(app, ["predict", "--questions", str(pipe), "--out", str(out)])
    assert result.exit_code == 0
    assert len(out.read_text().splitlines()) == len(QUESTIONS)
