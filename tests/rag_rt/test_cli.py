"""The real command, as a person runs it."""

import json
import shutil
from pathlib import Path

import pytest

from rag_rt.settings import Settings
from tests.conftest import run_rag_rt, small_disk


def test_an_answer_is_printed_with_citations_and_sources() -> None:
    run = run_rag_rt("answer", "Why is the ocean salty?")
    assert run.returncode == 0
    assert run.stderr == ""  # no terminal: no spinner, no progress
    paragraph, _, sources = run.stdout.partition("\n\n")
    assert "[1]" in paragraph
    assert sources.startswith("Sources\n  [1] ")
    assert "https://en.wikipedia.org/wiki/" in sources
    assert "\n      “" in sources  # the words themselves


def test_json_is_one_object_with_both_ends_of_every_citation() -> None:
    run = run_rag_rt("answer", "How do vaccines work?", "--k", "4", "--seed", "1", "--json")
    assert run.returncode == 0
    answer = json.loads(run.stdout)
    assert len(answer["hits"]) == 4
    passages = {hit["passage"]["id"]: hit["passage"]["text"] for hit in answer["hits"]}
    for sentence in answer["sentences"]:
        assert answer["text"][sentence["start"] : sentence["end"]].strip()
        for e in sentence["evidence"]:
            assert passages[e["passage_id"]][e["start"] : e["end"]] == e["quote"]


def test_markdown_is_the_paragraph_with_a_footnote_for_each_quote_and_nothing_else() -> None:
    run = run_rag_rt("answer", "How do vaccines work?", "--mode", "extractive", "--markdown")
    assert run.returncode == 0
    assert run.stderr == ""
    heading, paragraph, *footnotes = run.stdout.rstrip("\n").split("\n\n")
    assert heading == "# How do vaccines work?"
    assert all(f"[^{n}]" in paragraph for n, _ in enumerate(footnotes, start=1))
    assert footnotes[0].startswith("[^1]: [")
    assert all("](https://en.wikipedia.org/wiki/" in footnote for footnote in footnotes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "empty"),
        (["?!"], "no letter or digit"),
        (["a" * 100_000], "100,000 characters"),
        (["Why?", "--k", "0"], "k is 0"),
        (["Why?", "--k", "1000000"], "k is 1000000"),
        (["Why?", "--temperature", "-1"], "temperature is -1.0"),
        (["Why?", "--top-p", "nan"], "top_p is nan"),
        (["Why?", "--max-tokens", "many"], "max-tokens"),
        (["Why?", "--mode", "poetic"], "'poetic' is not one of"),
        (["Why?", "--json", "--markdown"], "choose one of --json and --markdown"),
        ([], "question"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    run = run_rag_rt("answer", *arguments)
    assert run.returncode == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


def test_a_wrong_setting_is_named() -> None:
    run = run_rag_rt("answer", "Why?", RAG_RT_THREADS="many")
    assert run.returncode == 2
    assert "RAG_RT_THREADS is 'many'" in run.stderr


def test_without_models_the_way_out_is_named(tmp_path: Path) -> None:
    run = run_rag_rt("answer", "Why?", RAG_RT_HOME=str(tmp_path))
    assert run.returncode == 1
    assert "there is no index" in run.stderr
    assert "rag-rt setup" in run.stderr


@pytest.fixture
def index(tmp_path: Path, settings: Settings) -> Path:
    return Path(shutil.copytree(settings.index_directory, tmp_path / "index"))


def answer_from(index: Path) -> str:
    run = run_rag_rt("answer", "Why?", RAG_RT_INDEX=str(index))
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert run.stderr.count("\n") == 1
    return run.stderr


def test_a_flipped_byte_in_the_index_is_found(index: Path) -> None:
    vectors = index / "generation-000001" / "vectors.npy"
    content = bytearray(vectors.read_bytes())
    content[1_000_000] ^= 1
    vectors.write_bytes(content)
    assert "vectors.npy is damaged" in answer_from(index)
    assert "index build" in answer_from(index)


def test_a_half_written_index_is_found(index: Path) -> None:
    (index / "manifest.json").unlink()
    assert "unfinished" in answer_from(index)


def test_an_index_of_another_encoder_is_found(index: Path, tmp_path: Path) -> None:
    run = run_rag_rt("answer", "Why?", RAG_RT_INDEX=str(index), RAG_RT_ENCODER=str(tmp_path))
    assert run.returncode == 1
    assert "cannot load the encoder" in run.stderr


def test_setup_mends_a_damaged_generator_and_leaves_whole_parts_alone(
    tmp_path: Path, settings: Settings, index: Path
) -> None:
    models = Path(shutil.copytree(settings.models_directory, tmp_path / "models"))
    weights = models / "SmolLM2-135M-Instruct" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    before = (index / "manifest.json").stat().st_mtime_ns
    damaged = run_rag_rt("answer", "Why?", RAG_RT_HOME=str(tmp_path))
    assert damaged.returncode == 1
    assert "model.safetensors is damaged" in damaged.stderr
    mended = run_rag_rt("setup", RAG_RT_HOME=str(tmp_path))
    assert mended.returncode == 0, mended.stderr
    assert "Index ready: 12,373 passages" in mended.stderr
    assert weights.read_bytes() == whole
    assert (index / "manifest.json").stat().st_mtime_ns == before


def test_a_full_disk_is_one_line_and_leaves_no_half_model(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "100m") as disk:
        run = run_rag_rt("setup", RAG_RT_HOME=str(disk))
        assert run.returncode == 1
        assert "Traceback" not in run.stderr
        assert "the disk is full" in run.stderr
        assert not (disk / "models" / "SmolLM2-135M-Instruct").exists()


def test_index_info_says_what_the_index_holds(settings: Settings) -> None:
    run = run_rag_rt("index", "info", str(settings.index_directory), "--json")
    facts = json.loads(run.stdout)
    assert (facts["pages"], facts["encoder"]) == (10_033, "all-MiniLM-L6-v2")


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["setup"],
        ["answer"],
        ["serve"],
        ["index", "build"],
        ["index", "info"],
        ["index", "add"],
        ["index", "compact"],
    ],
    ids=" ".join,
)
def test_every_command_explains_itself_with_an_example(command: list[str]) -> None:
    run = run_rag_rt(*command, "--help")
    assert run.returncode == 0
    assert ("Example: rag-rt " + " ".join(command)) in run.stdout or not command
