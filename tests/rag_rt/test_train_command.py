import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from rag_rt.train_command import train_retriever
from retriever.building import build_index
from retriever.named_encoders import open_encoder
from retriever.sources import open_source
from tests.retriever.training_setup import LETTERS, make_sentence_encoder, write_toy

app = typer.Typer()
app.command()(train_retriever)


def run(*arguments: object) -> list[dict[str, float]]:
    options = ["--steps", "4", "--every", "2", "--batch", "8", "--json", *map(str, arguments)]
    result = CliRunner().invoke(app, options, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_what_is_measured_comes_as_json_lines_and_the_folder_is_an_encoder(tmp_path: Path) -> None:
    encoder = make_sentence_encoder(tmp_path / "encoder")
    data = write_toy(tmp_path / "toy.jsonl")
    lines = run("--encoder", encoder, "--data", data, "--out", tmp_path / "out")
    assert [line["step"] for line in lines] == [0, 2, 4]
    assert all({"recall@5", "mrr", "ndcg@10"} <= line.keys() for line in lines)
    assert "loss" in lines[1]
    assert open_encoder(str(tmp_path / "out")).dimension == 16


def test_negatives_come_from_an_index(tmp_path: Path) -> None:
    encoder = make_sentence_encoder(tmp_path / "encoder")
    data = write_toy(tmp_path / "toy.jsonl")
    corpus = tmp_path / "corpus.jsonl"
    pages = [
        {"wikipedia_id": letter, "wikipedia_title": f"page {number}", "text": ["", f"{letter}."]}
        for number, letter in enumerate(LETTERS)
    ]
    corpus.write_text("".join(json.dumps(page) + "\n" for page in pages))
    build_index(open_source("kilt", str(corpus)), open_encoder(encoder), tmp_path / "index")
    options = ["--encoder", encoder, "--data", data, "--out", tmp_path / "out"]
    with_index = run(*options, "--index", tmp_path / "index")
    without = run(*options, "--replace")
    assert with_index[0] == without[0]
    assert with_index[1]["loss"] > without[1]["loss"]  # more texts to be told from the right one
