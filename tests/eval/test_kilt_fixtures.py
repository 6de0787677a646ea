"""Our figures against those of the official scorer, folder by folder, by `==` and by type."""

import json
from pathlib import Path
from typing import Any

import pytest

from eval.errors import BadRecord
from eval.google_rouge import google_rouge
from eval.records import AlignedFiles
from eval.retrieval_scoring import score_retrieval
from eval.scoring import ScoredRecord, Scorer

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "golden" / "kilt"
FOLDERS = sorted(
    path.parent
    for root in (ROOT / "tests" / "golden" / "kilt", SHARED)
    for path in root.glob("*/expected.json")
)
DEADLY = "err_recursion"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/golden/kilt is not here")


def each_folder(with_file: str) -> pytest.MarkDecorator:
    folders = [folder for folder in FOLDERS if (folder / with_file).is_file()]
    return pytest.mark.parametrize("folder", folders, ids=lambda path: path.name)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def read_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def exact(value: Any) -> str:
    """JSON tells 0 from 0.0 and every float from its neighbours; key order does not matter."""
    return json.dumps(value, sort_keys=True)


def score(folder: Path) -> tuple[dict[str, dict[str, float]], list[ScoredRecord]]:
    with AlignedFiles(folder / "guess.jsonl", folder / "gold.jsonl") as files:
        scorer = Scorer(files)
        records = list(scorer)
        return scorer.official(), records


@needs_shared
def test_every_shared_folder_is_found() -> None:
    assert len(FOLDERS) == 1 + sum(path.is_dir() for path in SHARED.iterdir())


@each_folder("expected.json")
def test_official_dictionary_or_refusal(folder: Path) -> None:
    expected = read(folder / "expected.json")
    if folder.name == DEADLY:
        expected = read(folder / "expected_unlimited_recursion.json")
    if "error" in expected:
        with pytest.raises(BadRecord, match=r"gold\.jsonl|guess\.jsonl"):
            score(folder)
    else:
        assert exact(score(folder)[0]) == exact(expected)


@each_folder("expected.json")
def test_only_the_deadly_fixture_is_said_to_kill_the_official_scorer(folder: Path) -> None:
    if folder.name == DEADLY or "error" not in read(folder / "expected.json"):
        deadly = [record for record in score(folder)[1] if record.score.kills_official]
        assert bool(deadly) == (folder.name == DEADLY)


@each_folder("expected_per_record.jsonl")
def test_figures_of_every_record(folder: Path) -> None:
    expected = read_lines(folder / "expected_per_record.jsonl")
    for record in expected:
        record.pop("google_rouge_score", None)
    assert list(map(exact, expected)) == [
        exact(record.score.as_json()) for record in score(folder)[1]
    ]


@each_folder("expected_eval_retrieval.json")
def test_eval_retrieval_dictionary_or_refusal(folder: Path) -> None:
    expected = read(folder / "expected_eval_retrieval.json")
    if "error" in expected:
        with pytest.raises(BadRecord, match=r"gold\.jsonl|guess\.jsonl"):
            score_retrieval(folder / "guess.jsonl", folder / "gold.jsonl")
    else:
        figures = score_retrieval(folder / "guess.jsonl", folder / "gold.jsonl")
        assert exact(figures) == exact(expected)


@each_folder("expected_per_record.jsonl")
def test_rouge_score_figures_of_every_record(folder: Path) -> None:
    expected = read_lines(folder / "expected_per_record.jsonl")
    for line, record in zip(expected, score(folder)[1], strict=True):
        if line.get("google_rouge_score"):  # the committed folder has none
            ours = google_rouge(record.guess.answer, record.gold.answers)
            assert ours == line["google_rouge_score"]


@needs_shared
@pytest.mark.parametrize("name", ["retr_050", "retr_edge"])
def test_a_second_output_is_refused_by_one_official_program_only(name: str) -> None:
    folder = SHARED / name
    with pytest.raises(BadRecord, match="found 2 outputs"):
        score(folder)
    assert score_retrieval(folder / "guess.jsonl", folder / "gold.jsonl")["Rprec"] > 0
