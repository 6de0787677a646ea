"""Building an index: resumable, exact, and visible only once it is whole.

Stages, each kept in `OUT.partial` when it is done: the passages; their vectors, in chunks; the
index file. A build that was stopped at any point goes on from its last finished chunk, and ends
with the same bytes as an undisturbed one, since the chunks are cut in the same places.
"""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from retriever.artefacts import (
    Manifest,
    atomic_write,
    exclusive,
    replace_directory,
    seal,
    verified_manifest,
)
from retriever.encoders import DualEncoder, Progress
from retriever.errors import ArtefactError, ArtefactMismatch, SourceError
from retriever.index import KIND, PASSAGES, REMEDY, VECTORS, VERSION
from retriever.passages import Passage, PassageStore
from retriever.sources import Source
from retriever.splitting import MAX_WORDS, split_page

CHUNK = 1024  # passages encoded between two safe points: about 6 seconds of work on 2 cores

Report = Callable[[str], None]


def build_index(
    source: Source,
    encoder: DualEncoder,
    out: Path,
    *,
    replace: bool = False,
    report: Report = lambda message: None,
    progress: Progress = lambda done, total: None,
) -> Manifest:
    """Build an index of `source` at `out`, or finish one that was begun.

    Nothing is done where `out` already holds this very index. A damaged index is replaced; a whole
    one that was made with other settings only with `replace`.

    Args:
        source: the corpus.
        encoder: makes the vectors.
        out: the index directory.
        replace: allow an index of another corpus or encoder to be replaced.
        report: told in a sentence what each stage does.
        progress: told how many passages are encoded.

    Raises:
        BuildInProgress: another process builds the same index.
        ArtefactMismatch: `out` holds another index and `replace` is not given.
        SourceError: the corpus cannot be read, or holds no passage.
    """
    settings = build_settings(source, encoder)
    with exclusive(out):
        current = _present(out)
        if current is not None and current.settings == settings:
            return current
        if current is not None and not replace:
            raise ArtefactMismatch(
                f"{out} already holds an index of {current.settings['source']} "
                f"by {current.settings['encoder']}; choose another --out, or add --replace"
            )
        return _build(source, encoder, out, settings, report, progress)


def build_settings(source: Source, encoder: DualEncoder) -> dict[str, Any]:
    """What an index depends on: two builds with equal settings end with equal bytes."""
    return {
        "source": source.name,
        "source_description": source.description,
        "source_fingerprint": source.fingerprint,
        "wikipedia_ids": source.wikipedia_ids,
        "encoder": encoder.name,
        "encoder_fingerprint": encoder.fingerprint,
        "dimension": encoder.dimension,
        "similarity": "cosine" if encoder.cosine else "inner product",
        "max_words": MAX_WORDS,
        "factory": "Flat",
    }


def _present(out: Path) -> Manifest | None:
    try:
        return verified_manifest(out, kind=KIND, version=VERSION, remedy=REMEDY)
    except ArtefactError:
        return None


def _build(
    source: Source,
    encoder: DualEncoder,
    out: Path,
    settings: dict[str, Any],
    report: Report,
    progress: Progress,
) -> Manifest:
    work = out.with_name(f"{out.name}.partial")
    new = work / "index"
    _start_or_resume(work, settings, report)
    manifest = _present(new)
    if manifest is None:
        store = _write_passages(source, new, report)
        _encode(store, encoder, work, report, progress)
        manifest = _assemble(store, settings, work, new)
    replace_directory(new, out)
    shutil.rmtree(work)
    return manifest


def _start_or_resume(work: Path, settings: dict[str, Any], report: Report) -> None:
    state = work / "build.json"
    if state.is_file() and json.loads(state.read_bytes()) == settings:
        report("Going on with a build that was stopped")
        return
    shutil.rmtree(work, ignore_errors=True)
    (work / "chunks").mkdir(parents=True)
    (work / "index").mkdir()
    with atomic_write(state) as file:
        file.write(json.dumps(settings).encode())


def _write_passages(source: Source, new: Path, report: Report) -> PassageStore:
    path = new / PASSAGES
    if not path.is_file():
        report(f"Splitting {source.description} into passages")
        PassageStore.write(_passages_of(source), path)
    store = PassageStore(path)
    if not len(store):
        raise SourceError(f"{source.description} holds no text; name another source")
    return store


def _passages_of(source: Source) -> Iterator[Passage]:
    for page in source.pages():
        yield from split_page(page)


def _encode(
    store: PassageStore,
    encoder: DualEncoder,
    work: Path,
    report: Report,
    progress: Progress,
) -> None:
    report(f"Encoding {len(store):,} passages with {encoder.name}")
    for first in range(0, len(store), CHUNK):
        path = _chunk_path(work, first)
        if not path.is_file():
            vectors = encoder.encode_passages(
                store.rows(first, first + CHUNK),
                _from(first, len(store), progress),
            )
            content = io.BytesIO()  # numpy writing to a file hides that the disk is full
            np.save(content, vectors, allow_pickle=False)
            with atomic_write(path) as file:
                file.write(content.getbuffer())
        progress(min(first + CHUNK, len(store)), len(store))


def _from(before: int, total: int, progress: Progress) -> Progress:
    """Progress through a part, as progress through the whole."""
    return lambda done, _: progress(before + done, total)


def _assemble(store: PassageStore, settings: dict[str, Any], work: Path, new: Path) -> Manifest:
    index = faiss.IndexFlatIP(settings["dimension"])  # of unit vectors, the product is the cosine
    for first in range(0, len(store), CHUNK):
        index.add(np.load(_chunk_path(work, first), allow_pickle=False))
    with atomic_write(new / VECTORS) as file:
        file.write(faiss.serialize_index(index).tobytes())
    counts = {"passages": len(store), "pages": store.count_pages()}
    return seal(new, kind=KIND, version=VERSION, settings=settings, counts=counts)


def _chunk_path(work: Path, first: int) -> Path:
    return work / "chunks" / f"{first:012d}.npy"
