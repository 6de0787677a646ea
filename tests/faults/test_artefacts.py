"""The real pipeline, over a handful of pages, while its index and its model are tampered with."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from retriever.building import build_index
from retriever.encoders import Encoder
from retriever.sources import open_source
from tests.conftest import RAG_RT, free_port, run_rag_rt, small_disk
from tests.service.harness import Service, served
from tests.service.tiny_service import PAGES
from tests.tiny_models import make_chat

OTHER_PAGES = {**PAGES, "Silver": "Silver is a metal. Silver conducts heat better than gold does."}


def make_index(pages: dict[str, str], folder: Path) -> Path:
    folder.mkdir()
    corpus = folder / "corpus.jsonl"
    lines = [
        {"wikipedia_id": str(n), "wikipedia_title": title, "text": [f"{title}\n", text]}
        for n, (title, text) in enumerate(pages.items())
    ]
    corpus.write_text("".join(json.dumps(line) + "\n" for line in lines))
    build_index(open_source("kilt", corpus), Encoder("starter"), folder / "index")
    return folder / "index"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two indexes and a model, not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    make_index(PAGES, folder / "one")
    make_index(OTHER_PAGES, folder / "two")
    make_chat(folder / "chat")
    return folder


def copied(made: Path, folder: Path) -> Path:
    """A folder with an index and a model, to tamper with."""
    shutil.copytree(made / "one" / "index", folder / "index")
    shutil.copytree(made / "chat", folder / "chat")
    return folder


def environment(files: Path) -> dict[str, str]:
    return {"RAG_RT_INDEX": str(files / "index"), "RAG_RT_GENERATOR": str(files / "chat")}


@pytest.fixture(scope="module")
def files(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `service` serves."""
    return copied(made, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def service(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has no space for files of its own."""
    with small_disk(tmp_path_factory.mktemp("small") / "disk", "64k") as disk:
        fill(disk)
        named = {**environment(files), "TMPDIR": str(disk), "RAG_RT_SERVICE_WORKERS": "1"}
        with served([RAG_RT, "serve", "--port"], named) as service:
            yield service


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"0" * 4096)


def kill_worker(service: Service) -> None:
    os.kill(service.worker_pid(), signal.SIGKILL)
    service.until("rag_rt_workers", 0)


def test_disk_full(service: Service) -> None:
    assert service.ask("What is gold?", max_tokens=8).status_code == 200


def test_index_replaced_while_serving(service: Service, files: Path, made: Path) -> None:
    before = service.ask("What is gold?", max_tokens=8).json()
    shutil.copytree(made / "two" / "index", files / "new")
    (files / "index").rename(files / "old")
    (files / "new").rename(files / "index")
    shutil.rmtree(files / "old")
    after = service.ask("What is gold?", max_tokens=8).json()  # not from the cache
    assert len(before["hits"]) == len(PAGES)
    assert len(after["hits"]) == len(OTHER_PAGES)
    index = service.client.get("/readyz").json()["index"]
    assert index["passages"] == len(OTHER_PAGES)


def test_index_changed_while_serving(service: Service, files: Path, tmp_path: Path) -> None:
    before = service.ask("What is gold?", max_tokens=8).json()
    page = {"id": "new", "title": "Gold", "text": "Gold is a metal that does not rust."}
    corpus = tmp_path / "new.jsonl"
    corpus.write_text(json.dumps(page))
    index = str(files / "index")
    run = run_rag_rt("index", "add", index, "--source", "jsonl", str(corpus))
    assert run.returncode == 0, run.stderr
    found = service.client.post("/search", json={"question": "What is gold?"}).json()["hits"]
    assert found[0]["passage"]["page_id"] == "new"
    after = service.ask("What is gold?", max_tokens=8).json()  # not from the cache
    assert len(after["hits"]) == len(before["hits"]) + 1
    assert run_rag_rt("index", "delete", index, "new").returncode == 0
    assert service.ask("What is gold?", max_tokens=8).json()["hits"] == before["hits"]


def test_index_damaged_while_serving(service: Service, files: Path) -> None:
    vectors = files / "index" / "generation-000001" / "vectors.npy"
    whole = vectors.read_bytes()
    vectors.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    kill_worker(service)
    service.until("rag_rt_worker_failures_total", 1, seconds=60)
    assert service.ask("What is gold?", max_tokens=8).status_code == 200  # from the cache
    refused = service.ask("What is a cell?", max_tokens=8)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "loading")
    vectors.write_bytes(whole)
    service.until("rag_rt_workers", 1, seconds=60)
    assert service.ask("What is a cell?", max_tokens=8).status_code == 200


@pytest.mark.parametrize(
    "damaged", ["index/generation-000001/vectors.npy", "chat/model.safetensors"]
)
def test_file_damaged_at_the_start(made: Path, tmp_path: Path, damaged: str) -> None:
    files = copied(made, tmp_path)
    path = files / damaged
    whole = path.read_bytes()
    path.write_bytes(b"\xff" * 8 + whole[8:])
    run = subprocess.run(
        [RAG_RT, "serve", "--port", str(free_port())],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment(files)},
    )
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert last.startswith("rag-rt: ")
    assert f"{files / damaged} is damaged" in last or "cannot load" in last
