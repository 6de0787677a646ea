"""An index that changes: held to a plain dictionary of pages, across processes and crashes."""

import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from retriever.building import build_index
from retriever.errors import ArtefactDamaged, ArtefactMismatch, BuildInProgress, QueryError
from retriever.index import Index
from retriever.index_files import update_numbers
from retriever.passages import Page
from retriever.sources import Source
from retriever.splitting import split_page
from retriever.updating import Change, add_pages, compact, delete_pages
from tests.retriever.hash_encoder import HashEncoder


def page(page_id: str, text: str) -> Page:
    return Page(id=page_id, title=f"Page {page_id}", text=text, url="")


def source(pages: list[Page]) -> Source:
    return Source("test", "a test", str(pages), False, lambda: iter([(p.id, p) for p in pages]))


def build(directory: Path, pages: list[Page]) -> Path:
    build_index(source(pages), HashEncoder(), directory)
    return directory


def expect(directory: Path | Index, pages: dict[str, str]) -> None:
    """The index finds exactly the passages of these pages, by vectors, by words and by id."""
    index = directory if isinstance(directory, Index) else Index(directory)
    snapshot = index.current()
    wanted = {p.id: p for key, text in pages.items() for p in split_page(page(key, text))}
    assert len(snapshot) == len(wanted)
    assert snapshot.page_count == len({p.page_id for p in wanted.values()})
    queries = HashEncoder().encode_passages(list(wanted.values()))
    scores, rows = snapshot.search(queries, len(wanted) + 5)
    assert scores.shape == rows.shape == (len(wanted), len(wanted))
    for passage, row_scores, found in zip(wanted.values(), scores, rows, strict=True):
        assert {p.id: p for p in snapshot.take(found.tolist())} == wanted
        assert snapshot.take([int(found[0])]) == [passage]
        assert (np.diff(row_scores) <= 0).all()
        assert snapshot.find(passage.id) == passage
    np.testing.assert_allclose(snapshot.similarities(queries, rows), scores, atol=1e-6)
    _, by_words = snapshot.search_words("page", len(wanted) + 5)
    assert {p.id for p in snapshot.take(by_words.tolist())} == set(wanted)


IDS = st.sampled_from("abcdefgh")
TEXTS = st.sampled_from(["One.", "One. " * 60 + "Two.", "Salt comes from rivers.", ""])


class Updates(RuleBasedStateMachine):
    """Any changes in any order, read by an index that was opened at the beginning."""

    @initialize(pages=st.dictionaries(IDS, TEXTS.filter(bool), min_size=1))
    def start(self, pages: dict[str, str]) -> None:
        self.folder = TemporaryDirectory()
        self.directory = Path(self.folder.name) / "index"
        self.pages = dict(pages)
        build(self.directory, [page(*item) for item in pages.items()])
        self.index = Index(self.directory)

    @rule(pages=st.dictionaries(IDS, TEXTS, max_size=3))
    def add(self, pages: dict[str, str]) -> None:
        change = add_pages(
            self.directory,
            HashEncoder(),
            [page(*item) for item in pages.items()],
            replace_pages=False,
        )
        assert change.left_alone == len(pages.keys() & self.pages.keys())
        self.pages = {**{key: text for key, text in pages.items() if text}, **self.pages}

    @rule(pages=st.dictionaries(IDS, TEXTS, max_size=3))
    def update(self, pages: dict[str, str]) -> None:
        change = add_pages(
            self.directory,
            HashEncoder(),
            [page(*item) for item in pages.items()],
            replace_pages=True,
        )
        assert change.replaced == len(pages.keys() & self.pages.keys())
        self.pages = {key: text for key, text in {**self.pages, **pages}.items() if text}

    @rule(ids=st.lists(IDS, max_size=3))
    def delete(self, ids: list[str]) -> None:
        change = delete_pages(self.directory, ids)
        assert change.deleted == len(set(ids) & self.pages.keys())
        self.pages = {key: text for key, text in self.pages.items() if key not in ids}

    @rule()
    def compact(self) -> None:
        if self.pages:
            compact(self.directory)
            assert not update_numbers(self.directory)

    @invariant()
    def holds(self) -> None:
        expect(self.index, self.pages)
        expect(self.directory, self.pages)

    def teardown(self) -> None:
        self.folder.cleanup()


TestUpdates = Updates.TestCase
TestUpdates.settings = hypothesis_settings(max_examples=10, stateful_step_count=10, deadline=None)


def test_many_small_changes_are_folded_into_few(tmp_path: Path) -> None:
    directory = build(tmp_path / "index", [page("base", "Base.")])
    for number in range(20):
        add_pages(directory, HashEncoder(), [page(str(number), "Text.")], replace_pages=False)
        assert len(update_numbers(directory)) < 7
    expect(directory, {"base": "Base.", **{str(number): "Text." for number in range(20)}})


def test_an_update_is_seen_within_a_second_by_a_process_that_searches(tmp_path: Path) -> None:
    directory = build(tmp_path / "index", [page(str(n), f"Number {n}.") for n in range(50)])
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    reader = context.Process(target=_watch, args=(directory, theirs))
    reader.start()
    try:
        assert ours.poll(60)
        assert ours.recv() == "ready"
        for number in range(8):
            page_id = f"new-{number}"
            add_pages(directory, HashEncoder(), [page(page_id, "New.")], replace_pages=False)
            acknowledged = time.monotonic()
            ours.send(page_id)
            assert ours.poll(10)
            assert ours.recv() - acknowledged < 1
        delete_pages(directory, ["new-3"])
        ours.send("new-3")
        assert not ours.poll(0.5)  # a deleted page is never found again
    finally:
        reader.kill()
        reader.join()


def _watch(directory: Path, connection: "multiprocessing.connection.Connection") -> None:
    index = Index(directory)
    connection.send("ready")
    while True:
        page_id = connection.recv()
        while index.current().find(f"{page_id}:0") is None:
            index.current().search(HashEncoder().encode_questions(["Who?"]), 10)
        connection.send(time.monotonic())


WRITER = """
import sys
from pathlib import Path
from tests.retriever.test_updating import HashEncoder, page
from retriever.updating import add_pages, compact
directory = Path(sys.argv[1])
print("ready", flush=True)
number = int(sys.argv[2])
while True:
    new = [page(str(number), f"Number {number}.")]
    add_pages(directory, HashEncoder(), new, replace_pages=False)
    print(number, flush=True)
    number += 1
    if number % 7 == 0:
        compact(directory)
"""


def test_a_writer_killed_at_any_point_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    directory = build(tmp_path / "index", [page("base", "Base.")])
    index, chance, number = Index(directory), random.Random(0), 0
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, directory, str(number)],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            acknowledged = [int(writer.stdout.readline()) for _ in range(chance.randint(1, 5))]
            time.sleep(chance.uniform(0, 0.2))
            writer.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in writer.stdout.read().split()]
        found = index.current()
        for earlier in range(acknowledged[-1] + 1):
            assert found.find(f"{earlier}:0") is not None
        # What was written and not told of may be there too, whole.
        expect(directory, {"base": "Base.", **_numbers(len(found) - 1)})
        number = len(found) - 1


def test_a_writer_killed_while_it_removes_leaves_an_index_that_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Updates that others took the place of go whole, or not at all."""
    directory = build(tmp_path / "index", [page("base", "Base.")])
    for number in range(3):
        add_pages(directory, HashEncoder(), [page(str(number), "Text.")], replace_pages=False)
    remaining = {"base": "Base.", **{str(number): "Text." for number in range(4)}}

    remove = shutil.rmtree

    def killed(path: Path | str, **options: Any) -> None:
        if not (passages := Path(path, "passages.arrow")).exists():
            return remove(path, **options)
        passages.unlink()
        raise KeyboardInterrupt

    (directory / "updates" / "work-of-a-killed-writer").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("retriever.updating.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            add_pages(directory, HashEncoder(), [page("3", "Text.")], replace_pages=False)
    expect(directory, remaining)
    delete_pages(directory, ["0"])
    expect(directory, {key: text for key, text in remaining.items() if key != "0"})
    assert all(path.name.isdecimal() for path in (directory / "updates").iterdir())


def _numbers(count: int) -> dict[str, str]:
    return {str(number): f"Number {number}." for number in range(count)}


def test_a_snapshot_stays_as_it_was(tmp_path: Path) -> None:
    directory = build(tmp_path / "index", [page("a", "Salt."), page("b", "Sugar.")])
    before = Index(directory).current()
    delete_pages(directory, ["a"])
    add_pages(directory, HashEncoder(), [page("c", "Pepper.")], replace_pages=False)
    compact(directory)
    assert [p.text for p in before.take([0, 1])] == ["Salt.", "Sugar."]
    assert before.search(HashEncoder().encode_questions(["x"]), 9)[1].shape == (1, 2)
    expect(directory, {"b": "Sugar.", "c": "Pepper."})


def test_compacting_is_the_same_as_building(tmp_path: Path) -> None:
    """Vectors, passages and words of a compacted index are those of one built of its pages."""
    changed = build(tmp_path / "changed", [page(str(n), f"Number {n}.") for n in range(30)])
    delete_pages(changed, ["3", "29"])
    add_pages(changed, HashEncoder(), [page("30", "New.")], replace_pages=False)
    assert compact(changed)
    assert not compact(changed)
    pages = [page(str(n), f"Number {n}.") for n in range(29) if n != 3] + [page("30", "New.")]
    built = build(tmp_path / "built", pages)
    assert _contents(changed / "generation-000002") == _contents(built / "generation-000001")


def _contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_an_index_without_pages_is_not_compacted(tmp_path: Path) -> None:
    directory = build(tmp_path / "index", [page("a", "Salt.")])
    delete_pages(directory, ["a"])
    with pytest.raises(QueryError, match="every passage"):
        compact(directory)
    expect(directory, {})


def test_a_damaged_update_is_named(tmp_path: Path) -> None:
    directory = build(tmp_path / "index", [page("a", "Salt.")])
    add_pages(directory, HashEncoder(), [page("b", "Sugar.")], replace_pages=False)
    path = directory / "updates" / "000001" / "vectors.npy"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ArtefactDamaged, match=r"updates/000001/vectors\.npy"):
        Index(directory)


def test_an_index_that_becomes_unreadable_stays_as_it_was_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = build(tmp_path / "index", [page("a", "Salt.")])
    index = Index(directory)
    (directory / "manifest.json").write_text("{}")
    expect(index, {"a": "Salt."})
    assert "stays as it was opened" in caplog.text
    shutil.rmtree(directory)
    expect(index, {"a": "Salt."})
    build(directory, [page("b", "Sugar.")])
    expect(index, {"b": "Sugar."})


def test_an_encoder_that_did_not_build_the_index_adds_nothing(tmp_path: Path) -> None:
    directory = build(tmp_path / "index", [page("a", "Salt.")])
    other = HashEncoder()
    other.fingerprint = "other"
    with pytest.raises(ArtefactMismatch, match="RAG_RT_ENCODER"):
        add_pages(directory, other, [page("b", "Sugar.")], replace_pages=False)
    expect(directory, {"a": "Salt."})


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    directory = build(tmp_path / "index", [page("a", "Salt.")])

    def slowly() -> Iterator[Page]:
        with pytest.raises(BuildInProgress):
            delete_pages(directory, ["a"])
        yield page("b", "Sugar.")

    assert add_pages(directory, HashEncoder(), slowly(), replace_pages=False) == Change(added=1)
