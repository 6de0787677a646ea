"""The systems of the published comparison on tiny models, through the real command line."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.systems import open_system
from rag_rt.answerer import NOT_FOUND
from rag_rt.errors import SettingsError
from rag_rt.settings import Settings
from retriever.building import build_index
from retriever.named_encoders import open_encoder
from retriever.sources import open_source
from tests.conftest import RAG_RT, run_rag_rt
from tests.tiny_models import (
    make_bart,
    make_chat,
    make_dpr,
    make_rag,
    make_realm,
    make_routing_transformer,
    make_t5,
)

QUESTIONS = [
    "Why is the ocean salty?",
    "What is gold?",
    "How do vaccines teach the body to fight a disease that it has never seen?",
    "Are cells units of life?",
    "Why?",
]
PAGES = {
    "10": ("Ocean", ["The ocean is salty.\n", "Rivers carry dissolved salts into it. Why not?\n"]),
    "20": ("Gold", ["Gold is a metal.\n", "", "It is soft and heavy.\n"]),
    "30": ("Cell", ["Cells are the units of life. " * 30]),
    "40": ("Vaccine", ["Vaccines teach the body.\n", "They do not cure a disease.\n"]),
}


class World:
    """A corpus, questions, and indexes of the corpus by any encoder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.questions = self.write_questions("questions", QUESTIONS)
        self._corpus = folder / "corpus.jsonl"
        records = [
            {"wikipedia_id": number, "wikipedia_title": title, "text": [f"{title}\n", *text]}
            for number, (title, text) in PAGES.items()
        ]
        self._corpus.write_text("".join(json.dumps(record) + "\n" for record in records))

    def write_questions(self, name: str, questions: list[str]) -> Path:
        path = self.folder / f"{name}.jsonl"
        records = [{"id": str(n), "input": q, "output": []} for n, q in enumerate(questions)]
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    def index(self, encoder: str) -> dict[str, str]:
        """The environment in which commands use an index by this encoder."""
        out = self.folder / f"index-{abs(hash(encoder))}"
        build_index(open_source("kilt", self._corpus), open_encoder(encoder), out)
        return {"RAG_RT_INDEX": str(out)}

    def predict(
        self, name: str, *options: str, environment: dict[str, str]
    ) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
        out = self.folder / f"{name}.jsonl"
        command = ("eval", "predict", "--questions", str(self.questions), "--out", str(out))
        return out, run_rag_rt(*command, "--max-tokens", "12", *options, **environment)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def dpr(world: World) -> str:
    return make_dpr(world.folder / "dpr")


@pytest.fixture(scope="module")
def realm(world: World) -> str:
    return make_realm(world.folder / "realm")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rag_token(folder: Path) -> str:
    return make_rag(folder, by_token=True)


def rag_sequence(folder: Path) -> str:
    return make_rag(folder, by_token=False)


@pytest.mark.parametrize(
    ("generator", "make", "encoder", "k"),
    [
        ("bart", make_bart, "dpr", 3),
        ("bart-eli5", make_bart, "dpr", 3),
        ("rag-token", rag_token, "dpr", 2),
        ("rag-sequence", rag_sequence, "dpr", 2),
        ("rt", make_routing_transformer, "realm", 3),
    ],
)
def test_a_system_answers_with_provenance_that_can_be_submitted(
    world: World,
    request: pytest.FixtureRequest,
    generator: str,
    make: Callable[[Path], str],
    encoder: str,
    k: int,
) -> None:
    retriever = request.getfixturevalue(encoder)
    folder = make(world.folder / generator)
    options = ("--generator", f"{generator}:{folder}", "--retriever", retriever, "--k", str(k))
    out, outcome = world.predict(
        generator, *options, "--batch-size", "2", environment=world.index(retriever)
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr.splitlines()[-1] == f"5 answers written to {out}"
    guesses = read(out)
    assert [guess["input"] for guess in guesses] == QUESTIONS
    assert len({guess["output"][0]["answer"] for guess in guesses}) > 1
    for guess in guesses:
        (output,) = guess["output"]
        assert output["answer"]
        assert len(output["provenance"]) == k
        for entry in output["provenance"]:
            title, text = PAGES[entry["wikipedia_id"]]
            assert entry["title"] == title
            paragraph = ["", *text][entry["start_paragraph_id"]]
            assert paragraph[entry["start_character"] :].strip()
    checked = run_rag_rt("eval", "validate", str(out), str(world.questions))
    assert (checked.returncode, checked.stdout) == (0, f"{out}: can be submitted\n")


@pytest.mark.parametrize(("generator", "make"), [("t5", make_t5), ("bart", make_bart)])
def test_a_closed_book_has_no_passages(
    world: World, generator: str, make: Callable[[Path], str]
) -> None:
    folder = make(world.folder / f"closed-{generator}")
    options = ("--generator", f"{generator}:{folder}", "--retriever", "none")
    out, outcome = world.predict(f"closed-{generator}", *options, environment={})
    assert outcome.returncode == 0, outcome.stderr
    assert all(guess["output"][0]["provenance"] == [] for guess in read(out))
    assert run_rag_rt("eval", "validate", str(out), str(world.questions)).returncode == 0


def test_predictions_for_derived_records_say_so(world: World) -> None:
    path = world.folder / "derived.jsonl"
    record = {"id": "1", "input": "Why?", "output": [], "meta": {"source": "nq-long"}}
    path.write_text(json.dumps(record) + "\n")
    t5 = make_t5(world.folder / "derived-t5")
    out = world.folder / "derived-guess.jsonl"
    command = ("eval", "predict", "--questions", str(path), "--out", str(out))
    outcome = run_rag_rt(*command, "--generator", f"t5:{t5}", "--retriever", "none")
    assert outcome.returncode == 0, outcome.stderr
    note = "Note: derived data, not official KILT. Sources of the records: nq-long (1)."
    assert outcome.stderr.splitlines()[-1] == note


@pytest.mark.parametrize("passages", [(), ("--random-passages",)])
def test_the_pipeline_runs_any_chat_model_over_any_retriever(
    world: World, dpr: str, passages: tuple[str, ...]
) -> None:
    """Its floor for cosines does not touch products, which may lie anywhere.

    What the tiny model babbles gives way to quotations of the passages.
    """
    chat = make_chat(world.folder / f"chat{len(passages)}")
    options = ("--generator", chat, "--retriever", dpr, "--k", "2", *passages)
    name = f"pipeline{len(passages)}"
    out, outcome = world.predict(name, *options, environment=world.index(dpr))
    assert outcome.returncode == 0, outcome.stderr
    answers = {guess["output"][0]["answer"] for guess in read(out)}
    assert NOT_FOUND not in answers
    texts = "".join("".join(paragraphs) for _, paragraphs in PAGES.values())
    assert all(answer.split(". ")[0].rstrip(".") in texts for answer in answers)


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_file(
    world: World, dpr: str
) -> None:
    """Real processes, killed wherever they are; among it in the middle of a batch."""
    bart = make_bart(world.folder / "killed-bart")
    questions = world.write_questions("many", [f"{q} ({n})" for n in range(60) for q in QUESTIONS])
    command = [RAG_RT, "eval", "predict", "--questions", str(questions), "--generator"]
    command += [f"bart:{bart}", "--retriever", dpr, "--k", "2", "--max-tokens", "12"]
    command += ["--batch-size", "7"]
    environment = {**os.environ, **world.index(dpr)}
    undisturbed, killed = world.folder / "undisturbed.jsonl", world.folder / "killed.jsonl"
    subprocess.run([*command, "--out", str(undisturbed)], check=True, env=environment)
    partial, points = world.folder / "killed.jsonl.partial", random.Random(0)
    for kill in range(1, 4):
        process = subprocess.Popen([*command, "--out", str(killed)], env=environment)
        wait_for_lines(partial, 70 * kill + points.randrange(20), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not killed.exists()
        with partial.open("ab") as file:
            file.write(b'{"guess": {"id": "3", "inp')  # as if it had been killed while writing
    subprocess.run([*command, "--out", str(killed)], check=True, env=environment)
    assert killed.read_bytes() == undisturbed.read_bytes()
    details = [p.with_name(f"{p.stem}.details.jsonl").read_bytes() for p in (killed, undisturbed)]
    assert details[0] == details[1]
    assert not partial.exists()


def wait_for_lines(path: Path, count: int, process: "subprocess.Popen[bytes]") -> None:
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("generator", "encoder", "message"),
    [
        ("gpt:x", "none", r"no generator of the kind 'gpt'.*rag-token:MODEL.*--generator"),
        ("t5:x", "starter", "is a closed book, which reads no passages; add --retriever none"),
        ("starter", "none", "writes from passages; name a --retriever"),
        ("rag-token:x", "none", "writes from passages; name a --retriever"),
    ],
)
def test_names_that_are_no_system_are_refused(generator: str, encoder: str, message: str) -> None:
    settings = Settings(generator=generator, encoder=encoder)
    with pytest.raises(SettingsError, match=message):
        open_system(settings, k=1, max_tokens=1, seed=0)


def test_a_model_that_is_not_there_is_one_line(world: World) -> None:
    options = ("--generator", "bart:no/such-model", "--retriever", "none")
    out, outcome = world.predict("refused", *options, environment={"HF_HUB_OFFLINE": "1"})
    assert outcome.returncode == 1
    assert "cannot load the generator 'bart:no/such-model'" in outcome.stderr
    assert "safetensors" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not out.exists()


def test_a_closed_book_has_no_passages_to_replace(world: World) -> None:
    t5 = make_t5(world.folder / "no-passages-t5")
    settings = Settings(generator=f"t5:{t5}", encoder="none")
    with pytest.raises(SettingsError, match="closed book"):
        open_system(settings, k=1, max_tokens=1, seed=0).with_random_passages(0)
