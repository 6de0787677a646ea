"""Questions that training asks already: found, counted, and scored apart."""

import json
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from eval.bounds import bounds_report
from eval.errors import NotDiagnosable
from eval.overlap import THRESHOLD, overlap_report
from eval.run_kilt import app
from retriever.encoders import Encoder, Progress, Vectors
from retriever.passages import Passage
from tests.eval.conftest import WriteRecords

NOTE = "derived data, not official KILT"


class WordEncoder:
    """Counts of six words, not of length 1: as similar as they share words."""

    name, fingerprint, question_fingerprint, dimension, cosine = "words", "0", "0", 6, False
    words = ("salt", "sea", "bee", "rain", "moon", "why")

    def encode_questions(self, questions: Sequence[str]) -> Vectors:
        counts = [[question.split().count(word) for word in self.words] for question in questions]
        return np.array(counts, dtype=np.float32)

    def encode_passages(
        self, passages: Sequence[Passage], progress: Progress | None = None
    ) -> Vectors:
        raise AssertionError("questions are compared with questions")


def record(name: str, question: str, *answers: str, **more: Any) -> dict[str, Any]:
    outputs = [{"answer": answer} for answer in answers]
    return {"id": name, "input": question, "output": outputs, **more}


@pytest.fixture
def gold(write_records: WriteRecords) -> Path:
    return write_records(
        "gold.jsonl",
        [record("1", "why salt sea", "rock and rain"), record("2", "bee moon", "it dances at it")],
    )


@pytest.fixture
def train(write_records: WriteRecords) -> Path:
    asked = [
        record("a", "Why salt sea?", "unlike", "nothing"),
        record("b", "why why salt salt sea sea", "rock", "rock and rain"),
        record("c", "rain", "it dances"),
    ]
    return write_records("train.jsonl", asked)


def report(gold: Path, train: Path, guess: Path | None = None) -> dict[str, Any]:
    return overlap_report(
        gold,
        train,
        guess,
        WordEncoder(),
        threshold=0.7,
        seed=0,
        progress=lambda done, total: None,
    )


def test_the_nearest_training_question_is_found_by_cosine(gold: Path, train: Path) -> None:
    found = report(gold, train)
    first, second = found["nearest"]
    assert (first["training_id"], first["cosine"]) == ("b", pytest.approx(1))
    assert second["cosine"] == 0
    assert found["overlapping"]["questions"] == 1
    assert found["overlapping"]["exact_duplicates"] == 1
    assert sum(band["questions"] for band in found["bands"]) == 2


def test_copied_answers_are_of_the_nearest_questions(gold: Path, train: Path) -> None:
    copied = report(gold, train)["copied_answers"]
    assert copied["nearest"]["overlapping"]["figures"]["f1"] == 1
    assert copied["best_of_nearest"]["overlapping"]["figures"]["f1"] == 1
    best, nearest = (copied[name]["all"] for name in ("best_of_nearest", "nearest"))
    assert best["figures"]["rougel"] >= nearest["figures"]["rougel"]


def test_guesses_are_scored_with_and_without_the_overlap(
    gold: Path, train: Path, write_records: WriteRecords
) -> None:
    guesses = [record("1", "", "rock and rain"), record("2", "", "nothing")]
    scores = report(gold, train, write_records("guess.jsonl", guesses))["scores"]
    assert scores["overlapping"]["figures"]["em"] == 1
    assert scores["others"]["figures"]["em"] == 0
    assert scores["gap"]["em"] == {"difference": 1, "interval": (1, 1)}


def test_without_an_overlap_there_is_no_gap(write_records: WriteRecords, train: Path) -> None:
    gold = write_records("gold.jsonl", [record("1", "moon", "it dances")])
    gap = report(gold, train)["copied_answers"]["nearest"]["gap"]["f1"]
    assert gap == {"difference": None, "interval": None}


def test_another_encoder_is_told_that_the_threshold_is_not_its_own(gold: Path, train: Path) -> None:
    (warning,) = report(gold, train)["warnings"]
    assert "judge the pairs" in warning


def test_a_training_file_without_answers_is_refused(
    gold: Path, write_records: WriteRecords
) -> None:
    train = write_records("train.jsonl", [{"id": 1, "input": "?", "output": [{}]}])
    with pytest.raises(NotDiagnosable, match=r"train\.jsonl holds no questions with answers"):
        report(gold, train)


def test_the_command_uses_the_retrievers_encoder(
    write_records: WriteRecords, tmp_path: Path
) -> None:
    meta = {"source": "eli5-category"}
    gold = [
        record("1", "Why is the sea salty?", "Rivers.", meta=meta),
        record("2", "Who wrote Hamlet?", "He", meta=meta),
    ]
    train = [
        record("a", "Why is ocean water salty?", "Rivers."),
        record("b", "How do bees dance?", "So"),
    ]
    out = tmp_path / "overlap.json"
    arguments = ["overlap", str(write_records("gold.jsonl", gold))]
    arguments += ["--train", str(write_records("train.jsonl", train)), "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.count(f"({NOTE})") == 2
    found = json.loads(out.read_text())
    assert found["overlapping"]["questions"] == 1
    assert found["warnings"] == []


def test_the_threshold_parts_judged_paraphrases_from_others(shared: Path, encoder: Encoder) -> None:
    """At least four of five above it are paraphrases; just below it, less than one in three."""
    judged = Path(__file__).parents[1] / "golden" / "paraphrases" / "judged.jsonl"
    pairs = [json.loads(line) for line in judged.read_text().splitlines()]
    training = shared / "data" / "eli5" / "train.jsonl.xz"
    cosines = _cosines(encoder, shared / "data" / "eli5" / "dev.jsonl", training, pairs)
    above = [p["paraphrase"] for p, c in zip(pairs, cosines, strict=True) if c >= THRESHOLD]
    below = [
        p["paraphrase"]
        for p, c in zip(pairs, cosines, strict=True)
        if THRESHOLD - 0.1 <= c < THRESHOLD
    ]
    assert (len(above), len(below)) == (45, 36)
    assert sum(above) / len(above) > 0.8
    assert sum(below) / len(below) < 1 / 3


def _cosines(
    encoder: Encoder, dev: Path, train: Path, pairs: Sequence[dict[str, Any]]
) -> Sequence[float]:
    lines = (dev.read_text() + lzma.decompress(train.read_bytes()).decode()).splitlines()
    records = [json.loads(line) for line in lines]
    texts = {row["id"]: row["input"] for row in records}
    asked, known = (
        encoder.encode([texts[pair[key]] for pair in pairs])
        for key in ("question", "training_question")
    )
    return [float(cosine) for cosine in (asked * known).sum(axis=1)]


def test_files_without_answers_are_refused(write_records: WriteRecords, train: Path) -> None:
    page = {"wikipedia_id": "1", "title": "Sea"}
    record = {"id": "0", "input": "why salt", "output": [{"provenance": [page]}]}
    gold = write_records("pages.jsonl", [record])
    with pytest.raises(NotDiagnosable, match="no questions with answers"):
        report(gold, train)
    with pytest.raises(NotDiagnosable, match="no questions with answers"):
        bounds_report(gold, None, seed=0, progress=lambda done, total: None)
