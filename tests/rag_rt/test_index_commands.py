"""`rag-rt index` from a corpus to a compacted index, and what goes wrong on the way."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rag_rt.cli import app
from retriever.index import Index
from tests.conftest import run_rag_rt
from tests.tiny_models import make_realm

PAGES = [{"id": str(n), "title": f"Page {n}", "text": f"This is page {n}."} for n in range(30)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_realm(tmp_path_factory.mktemp("model"))


@pytest.fixture
def index(tmp_path: Path, model: str) -> Path:
    out = tmp_path / "index"
    command("build", "--source", "jsonl", corpus(tmp_path, PAGES), "--out", out, "--encoder", model)
    return out


def corpus(folder: Path, pages: list[dict[str, str]]) -> Path:
    path = folder / "pages.jsonl"
    path.write_text("".join(json.dumps(page) + "\n" for page in pages))
    return path


def command(*arguments: object) -> str:
    run = CliRunner().invoke(app, ["index", *map(str, arguments)], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    return run.stdout


def told(*arguments: object) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(command(*arguments, "--json"))
    return facts


def test_an_index_is_built_changed_and_compacted(tmp_path: Path, model: str, index: Path) -> None:
    facts = told("info", index)
    assert (facts["passages"], facts["pages"], facts["kind_chosen"]) == (30, 30, "flat")
    more = corpus(
        tmp_path, [{"id": "3", "title": "New", "text": "Three."}, PAGES[4], {**PAGES[5], "id": "x"}]
    )
    change = told("add", index, "--source", "jsonl", more, "--encoder", model)
    assert change == {"added": 1, "replaced": 0, "deleted": 0, "left_alone": 2}
    change = told("update", index, "--source", "jsonl", more, "--encoder", model)
    assert change == {"added": 0, "replaced": 3, "deleted": 0, "left_alone": 0}
    (tmp_path / "ids").write_text("1\n2\n")
    change = told("delete", index, "x", "nowhere", "--file", tmp_path / "ids")
    assert change == {"added": 0, "replaced": 0, "deleted": 3, "left_alone": 1}
    facts = told("verify", index)
    assert (facts["passages"], facts["updates"], facts["deleted_passages"]) == (28, 3, 6)
    facts = told("compact", index)
    assert (facts["passages"], facts["updates"], facts["deleted_passages"]) == (28, 0, 0)
    found = Index(index).current().find("3:0")
    assert found is not None
    assert found.text == "Three."


@pytest.mark.parametrize("kind", ["hnsw", "sq", "binary", "ivfpq", "IVF4,SQ8"])
def test_an_index_of_any_kind_finds_its_passages(tmp_path: Path, model: str, kind: str) -> None:
    pages = [{**page, "id": f"{n}-{page['id']}"} for n in range(20) for page in PAGES]
    path, out = corpus(tmp_path, pages), tmp_path / "index"
    command("build", "--source", "jsonl", path, "--out", out, "--encoder", model, "--kind", kind)
    facts = told("info", out)
    assert (facts["kind"], facts["passages"]) == (kind, 600)
    assert facts["nearest_recall"] >= 0.99


def test_malformed_records_are_skipped_up_to_the_limit_and_counted(
    tmp_path: Path, model: str
) -> None:
    path, out = corpus(tmp_path, PAGES), tmp_path / "index"
    path.write_text(path.read_text() + "no page\n" * 3)
    arguments = ["--source", "jsonl", str(path), "--out", str(out), "--encoder", model]
    run = run_rag_rt("index", "build", *arguments, "--max-malformed", "2")
    assert run.returncode == 2
    assert "line 33" in run.stderr
    assert "--max-malformed" in run.stderr
    assert not out.exists()
    command("build", *arguments)
    assert told("info", out)["skipped"] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["build", "--source", "nothing", "x", "--out", "o"], 2, "there is no source 'nothing'"),
        (["build", "--source", "jsonl", "absent", "--out", "o"], 2, "absent"),
        (["build", "--source", "starter", "--out", "o", "--kind", "IVF0,Fl"], 1, "IVF0,Fl"),
        (["info", "absent"], 1, "there is no index at absent"),
        (["delete", "absent", "a"], 1, "there is no index at absent"),
        (["delete", "absent"], 2, "no page is named"),
        (["compact", "absent"], 1, "there is no index at absent"),
    ],
)
def test_what_goes_wrong_is_one_line(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    named = [str(tmp_path / a) if a in ("absent", "o") else a for a in arguments]
    run = run_rag_rt("index", *named)
    assert run.returncode == code
    assert "Traceback" not in run.stderr
    assert words in run.stderr.replace(f"{tmp_path}/", "")
    assert not list(tmp_path.iterdir())
