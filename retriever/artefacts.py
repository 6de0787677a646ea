"""Directories that this project writes: whole and as written, or refused.

An artefact is a directory with a `manifest.json`, written last, that holds its kind, format
version, settings, counts, the size and SHA-256 of every other file, and a digest of itself.
"""

import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from retriever.errors import ArtefactDamaged, ArtefactMismatch, ArtefactMissing, BuildInProgress

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a directory holds; `files` maps each name to its size in bytes and SHA-256."""

    kind: str
    version: int
    settings: Mapping[str, Any]
    counts: Mapping[str, int]
    files: Mapping[str, Mapping[str, Any]]

    def digest(self) -> str:
        """SHA-256 of the manifest's own content, in canonical JSON."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_directory(directory: Path) -> None:
    """Make the renames inside a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Write a file under a temporary name; it appears under `path` whole, or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def atomic_save(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array in numpy's format as `atomic_write` does."""
    content = io.BytesIO()  # numpy writing to a file hides that the disk is full
    np.save(content, array, allow_pickle=False)
    with atomic_write(path) as file:
        file.write(content.getbuffer())


@contextmanager
def exclusive(target: Path) -> Iterator[None]:
    """Be the only process that builds `target`.

    Raises:
        BuildInProgress: another process does.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise BuildInProgress(
                f"another process is building {target}; wait for it, or stop it, and run again"
            ) from error
        yield


def seal(
    directory: Path,
    *,
    kind: str,
    version: int,
    settings: Mapping[str, Any],
    counts: Mapping[str, int],
    part: str = ".",
) -> Manifest:
    """Write the manifest over all files now in `directory`, which completes the artefact.

    With `part`, over those of one folder in it: what else is there is not of the artefact.
    """
    files: dict[str, dict[str, Any]] = {}
    for path in sorted((directory / part).rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            with path.open("rb") as file:
                os.fsync(file.fileno())
            name = path.relative_to(directory).as_posix()
            files[name] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    manifest = Manifest(kind, version, settings, counts, files)
    with atomic_write(directory / MANIFEST) as file:
        content = {**asdict(manifest), "digest": manifest.digest()}
        file.write(json.dumps(content, indent=2, sort_keys=True).encode() + b"\n")
    return manifest


def replace_directory(new: Path, target: Path) -> None:
    """Put `new` in the place of `target`; an old `target` goes only once the new one is there."""
    old = target.with_name(f"{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    sync_directory(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def read_manifest(directory: Path, *, kind: str, version: int, remedy: str) -> Manifest:
    """Read and check the manifest alone; the files' sizes are checked, their bytes are not.

    Args:
        directory: the artefact.
        kind: what it must be, for example "index".
        version: the format version that this program reads.
        remedy: the command that makes the artefact anew, for the error message.

    Raises:
        ArtefactMissing: there is no such directory.
        ArtefactDamaged: the manifest or a file is missing, or its size or the digest is wrong.
        ArtefactMismatch: it is another kind of artefact, or of another format version.
    """
    if not directory.is_dir():
        raise ArtefactMissing(f"there is no {kind} at {directory}; make it with {remedy}")
    try:
        content = json.loads((directory / MANIFEST).read_bytes())
        digest = content.pop("digest")
        manifest = Manifest(**content)
    except FileNotFoundError:
        raise ArtefactDamaged(
            f"the {kind} at {directory} is unfinished: it has no {MANIFEST}; "
            f"finish it with {remedy}"
        ) from None
    except (ValueError, TypeError, AttributeError, KeyError):
        raise ArtefactDamaged(
            f"{directory / MANIFEST} is damaged: it is no manifest; "
            f"make the {kind} anew with {remedy}"
        ) from None
    if manifest.digest() != digest:
        raise ArtefactDamaged(
            f"{directory / MANIFEST} is damaged (it was changed after it was written); "
            f"make the {kind} anew with {remedy}"
        )
    if (manifest.kind, manifest.version) != (kind, version):
        raise ArtefactMismatch(
            f"{directory} holds '{manifest.kind}' in format {manifest.version}, but this program "
            f"expects '{kind}' in format {version}; make it anew with {remedy}"
        )
    for name, recorded in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise ArtefactDamaged(f"{path} is missing; make the {kind} anew with {remedy}")
        if path.stat().st_size != recorded["bytes"]:
            raise ArtefactDamaged(
                f"{path} is damaged: {path.stat().st_size:,} bytes long instead of "
                f"{recorded['bytes']:,}; make the {kind} anew with {remedy}"
            )
    return manifest


def verified_manifest(directory: Path, *, kind: str, version: int, remedy: str) -> Manifest:
    """`read_manifest`, and every byte of every file is what was written.

    Raises:
        ArtefactError: as `read_manifest`; `ArtefactDamaged` also where the bytes have changed.
    """
    manifest = read_manifest(directory, kind=kind, version=version, remedy=remedy)
    verify_bytes(directory, manifest, remedy=remedy)
    return manifest


def verify_bytes(directory: Path, manifest: Manifest, *, remedy: str) -> None:
    """Read every file of an artefact whole, and compare it with what was written.

    Raises:
        ArtefactDamaged: the bytes of a file have changed.
    """
    for name, recorded in manifest.files.items():
        if file_digest(directory / name) != recorded["sha256"]:
            raise ArtefactDamaged(
                f"{directory / name} is damaged: its bytes are not those that were written "
                f"(SHA-256 differs); make the {manifest.kind} anew with {remedy}"
            )
