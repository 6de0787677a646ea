"""Building an index: resumable, exact, and visible only once it is whole.

Stages, each kept in `OUT.partial` when it is done: the passages; their vectors, in chunks; what
searches them. A build that was stopped at any point goes on from its last finished chunk, and ends
with the same bytes as an undisturbed one, since the chunks are cut in the same places. Memory does
not grow with the corpus, but for 24 bytes a page.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retriever.artefacts import (
    Manifest,
    atomic_write,
    exclusive,
    replace_directory,
    seal,
    verified_manifest,
)
from retriever.errors import ArtefactError, ArtefactMismatch, SourceError
from retriever.index_files import KIND, REMEDY, VERSION
from retriever.kinds import Kind, choose_kind, named_kind
from retriever.lexical_terms import STOP_WORDS, TITLE
from retriever.page_table import PageTable
from retriever.parts import (
    CHUNK,
    PAGES,
    PASSAGES,
    Report,
    Stored,
    index_part,
    write_passages,
    write_vectors,
)
from retriever.passages import Passage, PassageStore
from retriever.sources import Source
from retriever.sources.skipping import Skipped
from retriever.splitting import MAX_WORDS, split_page
from retriever.vectors import DualEncoder, Progress, Vectors

GENERATION = "generation-{:06d}"
AUTO = "auto"
ASKED = 256  # titles that a search which is not exact is set by

Encoding = Callable[[Path, DualEncoder], Callable[[int], Stored]]
"""From a file of passages and an encoder to the vectors of the `CHUNK` passages from a row on."""


@dataclass(frozen=True, slots=True)
class KindWish:
    """How vectors are to be searched: a kind by name, or the best one for an amount of memory."""

    name: str = AUTO
    memory: int = 2 * 10**9
    """Bytes that searching may hold beside the encoder, for "auto"."""


def encode_here(passages: Path, encoder: DualEncoder) -> Callable[[int], Stored]:
    """Encode in this process: see `Encoding`."""
    store = PassageStore(passages)
    return lambda first: encoder.encode_passages(store.rows(first, first + CHUNK))


def build_index(
    source: Source,
    encoder: DualEncoder,
    out: Path,
    *,
    kind: KindWish = KindWish(),
    encoding: Encoding = encode_here,
    skipped: Skipped | None = None,
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
        kind: how vectors are to be searched.
        encoding: where vectors are made; they are the same wherever it is.
        skipped: counts malformed records and ends the build beyond its limit; by default the first
            one ends it.
        replace: allow an index of another corpus or encoder to be replaced.
        report: told in a sentence what each stage does.
        progress: told how many passages are encoded.

    Raises:
        BuildInProgress: another process builds the same index.
        ArtefactMismatch: `out` holds another index and `replace` is not given.
        SourceError: the corpus cannot be read, or holds no passage.
    """
    settings = build_settings(source, encoder, kind)
    wished_kind(settings, CHUNK, encoder.dimension)  # an impossible wish is told before any work
    with exclusive(out):
        current = _present(out)
        if current is not None and settings.items() <= current.settings.items():
            return current
        if current is not None and not replace:
            others = [name for name in settings if settings[name] != current.settings.get(name)]
            raise ArtefactMismatch(
                f"{out} already holds an index of {current.settings['source']} "
                f"by {current.settings['encoder']}, made with another {' and '.join(others)}; "
                "choose another --out, or add --replace"
            )
        work = out.with_name(f"{out.name}.partial")
        start_or_resume(work, settings, report)
        new = work / "index"
        manifest = _present(new)
        if manifest is None:
            store = _passages(source, skipped or Skipped(), work, report)
            vectors = encoding(work / "index" / GENERATION.format(1) / PASSAGES, encoder)
            manifest = _finish(store, encoder, vectors, settings, work, report, progress)
        replace_directory(new, out)
        shutil.rmtree(work)
        return manifest


def build_settings(source: Source, encoder: DualEncoder, kind: KindWish) -> dict[str, Any]:
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
        "words": f"title {TITLE}, stop words {STOP_WORDS}",
        "kind": kind.name,
        "memory": kind.memory,
    }


def start_or_resume(work: Path, settings: dict[str, Any], report: Report) -> None:
    """Have a folder for the unfinished: a stopped build's with these settings, or a new one."""
    state = work / "build.json"
    if state.is_file() and json.loads(state.read_bytes()) == settings:
        report("Going on with a build that was stopped")
        return
    shutil.rmtree(work, ignore_errors=True)
    (work / "index").mkdir(parents=True)
    with atomic_write(state) as file:
        file.write(json.dumps(settings).encode())


def wished_kind(settings: Mapping[str, Any], passages: int, dimension: int) -> Kind:
    """How the vectors of an index with these settings are searched.

    Raises:
        IndexingError: there is no such kind, or none fits the memory.
    """
    if settings["kind"] == AUTO:
        return choose_kind(passages, dimension, settings["memory"])
    return named_kind(settings["kind"], passages, dimension)


def finish_generation(
    store: PassageStore,
    vectors: Callable[[int], Stored],
    kind: Kind,
    questions: Vectors | None,
    directory: Path,
    work: Path,
    report: Report,
    progress: Progress,
) -> dict[str, Any]:
    """All stages of a base after its passages, each left out where it is done.

    Args:
        store: its passages.
        vectors: those of `CHUNK` rows, from a row on.
        kind: how they are searched.
        questions: vectors (S, D) of questions like those that will be asked.
        directory: where the passages lie and the rest comes.
        work: a folder for the unfinished.
        report: told in a sentence what each stage does.
        progress: told how far it is.

    Returns:
        the settings that opening it takes.
    """
    write_vectors(vectors, len(store), directory, kind, progress)
    nearest = index_part(
        directory, kind, work, questions=questions, report=report, progress=progress
    )
    return {"generation": directory.name, "kind_chosen": kind.name, "nearest": nearest}


def _present(out: Path) -> Manifest | None:
    try:
        return verified_manifest(out, kind=KIND, version=VERSION, remedy=REMEDY)
    except ArtefactError:
        return None


def _passages(source: Source, skipped: Skipped, work: Path, report: Report) -> PassageStore:
    directory = work / "index" / GENERATION.format(1)
    directory.mkdir(exist_ok=True)
    report(f"Splitting {source.description} into passages")
    store = write_passages(_split(source, skipped, work / "skipped.json"), directory)
    if not len(store):
        raise SourceError(f"{source.description} holds no text; name another source")
    return store


def _split(source: Source, skipped: Skipped, count: Path) -> Iterator[Passage]:
    for page in source.pages(skipped):
        yield from split_page(page)
    with atomic_write(count) as file:  # before the store is there, which ends the stage
        file.write(json.dumps({"skipped": skipped.malformed, **skipped.left_out}).encode())


def _titles_asked(store: PassageStore, encoder: DualEncoder) -> Vectors:
    """Titles as questions: they find their neighbours as hard as real questions do theirs.

    docs/index-kinds.md has the figures.
    """
    step = max(1, len(store) // ASKED)
    passages = (store.rows(row, row + 1)[0] for row in range(0, len(store), step))
    return encoder.encode_questions(list(dict.fromkeys(p.title for p in passages if p.title)))


def _finish(
    store: PassageStore,
    encoder: DualEncoder,
    vectors: Callable[[int], Stored],
    settings: dict[str, Any],
    work: Path,
    report: Report,
    progress: Progress,
) -> Manifest:
    directory = work / "index" / GENERATION.format(1)
    kind = wished_kind(settings, len(store), encoder.dimension)
    report(kind.describe(len(store), encoder.dimension))
    report(f"Encoding {len(store):,} passages with {encoder.name}")
    questions = None if kind.exact else _titles_asked(store, encoder)
    made = finish_generation(store, vectors, kind, questions, directory, work, report, progress)
    counts = {
        "passages": len(store),
        "pages": len(PageTable(directory / PAGES)),
        **json.loads((work / "skipped.json").read_bytes()),
    }
    return seal(
        work / "index",
        kind=KIND,
        version=VERSION,
        settings={**settings, **made, "folded": 0},
        counts=counts,
    )
