from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retriever.artefacts import (
    MANIFEST,
    atomic_write,
    exclusive,
    replace_directory,
    seal,
    verified_manifest,
)
from retriever.errors import (
    ArtefactDamaged,
    ArtefactError,
    ArtefactMismatch,
    ArtefactMissing,
    BuildInProgress,
)


def make(directory: Path) -> Path:
    directory.mkdir()
    (directory / "a.bin").write_bytes(bytes(range(100)))
    (directory / "b.txt").write_text("salt")
    seal(directory, kind="index", version=1, settings={"encoder": "e"}, counts={"passages": 3})
    return directory


def check(directory: Path, version: int = 1) -> None:
    verified_manifest(directory, kind="index", version=version, remedy="'mend it'")


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    return make(tmp_path / "artefact")


def test_what_was_sealed_opens(artefact: Path) -> None:
    check(artefact)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_is_refused_with_the_command_that_mends_it(
    artefact: Path, data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(sorted(artefact.iterdir())))
    original = path.read_bytes()
    position = data.draw(st.integers(0, len(original) - 1))
    flipped = bytearray(original)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(flipped)
    try:
        if original[position : position + 1].isspace():
            return  # white space of the manifest carries nothing
        with pytest.raises(ArtefactError, match="mend it"):
            check(artefact)
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize("name", ["a.bin", MANIFEST])
def test_a_missing_file_is_named(artefact: Path, name: str) -> None:
    (artefact / name).unlink()
    with pytest.raises(ArtefactDamaged, match=name):
        check(artefact)


def test_a_missing_directory_is_missing_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(ArtefactMissing, match="make it with 'mend it'"):
        check(tmp_path / "nothing")


def test_another_format_is_a_mismatch(artefact: Path) -> None:
    with pytest.raises(ArtefactMismatch, match=r"format 1.*format 2"):
        check(artefact, version=2)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), atomic_write(path) as file:
        file.writelines([b"half of the new", "and no bytes"])  # type: ignore[list-item]
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path, artefact: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / "c.bin").write_bytes(b"c")
    replace_directory(new, artefact)
    assert [p.name for p in artefact.iterdir()] == ["c.bin"]
    assert [p.name for p in tmp_path.iterdir()] == ["artefact"]


def test_two_builders_of_one_directory_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "index"
    with exclusive(target), pytest.raises(BuildInProgress, match="wait"), exclusive(target):
        pass
    with exclusive(target):
        pass
