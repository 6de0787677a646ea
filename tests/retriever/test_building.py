import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retriever import building, index_files
from retriever.artefacts import exclusive
from retriever.building import build_index
from retriever.encoders import Encoder, Progress
from retriever.errors import ArtefactDamaged, ArtefactMismatch, BuildInProgress, SourceError
from retriever.index import Index
from retriever.sources import open_source
from tests.conftest import small_disk

BUILDER = """
import sys
from pathlib import Path
from retriever import building
from retriever.encoders import Encoder
from retriever.sources import open_source
from tests.conftest import small_disk
building.CHUNK = 16
source, encoder = open_source("kilt", Path(sys.argv[1])), Encoder("starter")
print("ready", flush=True)
building.build_index(source, encoder, Path(sys.argv[2]))
"""


def write_corpus(path: Path, pages: int) -> Path:
    with path.open("w") as lines:
        for number in range(pages):
            text = [f"Page {number}\n", f"Page {number} is about the number {number}. " * 5]
            record = {
                "wikipedia_id": str(number),
                "wikipedia_title": f"Page {number}",
                "text": text,
            }
            lines.write(json.dumps(record) + "\n")
    return path


def digests(directory: Path) -> dict[str, str]:
    return {
        str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in directory.rglob("*")
        if p.is_file()
    }


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus.jsonl", 150)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "CHUNK", 16)


def test_a_build_killed_at_any_point_ends_with_the_same_bytes(tmp_path: Path, corpus: Path) -> None:
    # In a process of its own too: what other tests ran in this one can touch the last bits.
    with start_builder(corpus, tmp_path / "undisturbed") as process:
        assert process.wait() == 0
    delays = random.Random(0)
    for _ in range(4):
        with start_builder(corpus, tmp_path / "killed") as process:
            time.sleep(delays.uniform(0, 1.2))  # an undisturbed build takes about a second
            process.send_signal(signal.SIGKILL)
    with start_builder(corpus, tmp_path / "killed") as process:
        assert process.wait() == 0
    assert digests(tmp_path / "killed") == digests(tmp_path / "undisturbed")
    leftovers = {p.name for p in tmp_path.iterdir()} - {"killed", "undisturbed", "corpus.jsonl"}
    assert leftovers == {"killed.lock", "undisturbed.lock"}


def start_builder(corpus: Path, out: Path) -> "subprocess.Popen[str]":
    """A process that has loaded its encoder and begins to build."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUILDER, corpus, out], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


class Stopped(Exception):
    pass


def stop_after(passages: int) -> Progress:
    def progress(done: int, total: int) -> None:
        if done > passages:
            raise Stopped

    return progress


def test_a_stopped_build_goes_on_from_its_last_chunk(
    tmp_path: Path, corpus: Path, encoder: Encoder
) -> None:
    source, out = open_source("kilt", corpus), tmp_path / "index"
    with pytest.raises(Stopped):
        build_index(source, encoder, out, progress=stop_after(48))
    assert not out.exists()
    seen: list[str] = []
    encoded: list[int] = []

    def progress(done: int, total: int) -> None:
        encoded.append(done)
        stop_after(112)(done, total)

    with pytest.raises(Stopped):
        build_index(source, encoder, out, report=seen.append, progress=progress)
    assert "Going on with a build that was stopped" in seen
    assert encoded == [80, 96, 112, 128]  # 64 were safe, of which the last 16 were not told of


def test_a_stopped_build_of_another_corpus_is_not_gone_on_with(
    tmp_path: Path, corpus: Path, encoder: Encoder
) -> None:
    out = tmp_path / "index"
    with pytest.raises(Stopped):
        build_index(open_source("kilt", corpus), encoder, out, progress=stop_after(48))
    other = open_source("kilt", write_corpus(tmp_path / "other.jsonl", 20))
    manifest = build_index(other, encoder, out)
    assert manifest.counts == {"passages": 20, "pages": 20, "skipped": 0}


def test_a_whole_index_is_kept_and_another_one_asks_to_be_replaced(
    tmp_path: Path, corpus: Path, encoder: Encoder
) -> None:
    source, out = open_source("kilt", corpus), tmp_path / "index"
    build_index(source, encoder, out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    build_index(source, encoder, out)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    other = open_source("kilt", write_corpus(tmp_path / "other.jsonl", 20))
    with pytest.raises(ArtefactMismatch, match=r"source_fingerprint.*--replace"):
        build_index(other, encoder, out)
    assert build_index(other, encoder, out, replace=True).counts["passages"] == 20


def test_a_damaged_index_is_refused_and_mended_by_building_again(
    tmp_path: Path, corpus: Path, encoder: Encoder
) -> None:
    source, out = open_source("kilt", corpus), tmp_path / "index"
    build_index(source, encoder, out)
    whole = digests(out)
    vectors = out / "generation-000001" / "vectors.npy"
    damaged = bytearray(vectors.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    vectors.write_bytes(damaged)
    with pytest.raises(ArtefactDamaged, match="index build"):
        Index(out)
    build_index(source, encoder, out)
    assert digests(out) == whole


def test_a_build_beside_another_one_is_refused(
    tmp_path: Path, corpus: Path, encoder: Encoder
) -> None:
    with exclusive(tmp_path / "index"), pytest.raises(BuildInProgress):
        build_index(open_source("kilt", corpus), encoder, tmp_path / "index")


def test_an_index_in_an_older_format_is_built_anew(
    tmp_path: Path, corpus: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `rag-rt setup` meets one after the program was updated."""
    source, out = open_source("kilt", corpus), tmp_path / "index"
    with monkeypatch.context() as older:
        older.setattr(building, "VERSION", index_files.VERSION - 1)
        build_index(source, encoder, out)
    with pytest.raises(ArtefactMismatch, match=r"format 2.*'rag-rt setup'"):
        Index(out)
    build_index(source, encoder, out)
    assert Index(out).manifest.version == index_files.VERSION


def test_a_corpus_without_text_is_an_error(tmp_path: Path, encoder: Encoder) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(SourceError, match="holds no text"):
        build_index(open_source("kilt", empty), encoder, tmp_path / "index")


def test_a_full_disk_ends_a_build_that_can_go_on(
    tmp_path: Path, corpus: Path, encoder: Encoder
) -> None:
    with small_disk(tmp_path / "disk", "200k") as disk:
        source = open_source("kilt", corpus)
        with pytest.raises(OSError, match="No space left"):
            build_index(source, encoder, disk / "index")
        assert not (disk / "index").exists()
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        seen: list[str] = []
        build_index(source, encoder, disk / "index", report=seen.append)
        assert "Going on with a build that was stopped" in seen
        build_index(source, encoder, tmp_path / "undisturbed")
        assert digests(disk / "index") == digests(tmp_path / "undisturbed")
