"""Cutting an index into shards, each an index of its own that another machine can search.

A shard holds a range of the rows that can be found, whole pages, with the vectors as they are
stored and the statistics of words of the whole index. So its scores are those of the whole.
"""

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from retriever.artefacts import (
    exclusive,
    read_manifest,
    replace_directory,
    seal,
    verified_manifest,
)
from retriever.building import GENERATION, start_or_resume, wished_kind
from retriever.errors import ArtefactError, ArtefactMismatch, QueryError
from retriever.index import Rows, Snapshot, open_snapshot
from retriever.index_files import KIND, VERSION
from retriever.page_table import PageTable
from retriever.parts import (
    CHUNK,
    PAGES,
    Report,
    index_part,
    write_passages,
    write_vectors,
)
from retriever.passages import Passage
from retriever.shards import PATTERN, REMEDY, SHARD
from retriever.updating import sample_questions
from retriever.vectors import Progress


def split_index(
    directory: Path,
    shards: int,
    out: Path,
    *,
    report: Report = lambda message: None,
    progress: Progress = lambda done, total: None,
) -> list[Path]:
    """Cut an index into shards of about the same size, or go on with a cut that was stopped.

    Args:
        directory: the index; nothing in it is changed.
        shards: how many.
        out: where they go: `out/shard-000` and so on. Those that are there already stay.
        report: told in a sentence what each step does.
        progress: told how far a long step is.

    Returns:
        the directory of each shard.

    Raises:
        ArtefactError: the index cannot be opened, or `out` holds shards of another cut.
        QueryError: it has fewer pages than there are to be shards.
        BuildInProgress: another process writes to `out`.
    """
    snapshot = open_snapshot(directory)
    rows = snapshot.live_rows()
    borders = _borders(snapshot, rows, shards)
    wanted = [_wanted(snapshot, number, shards, first) for number, first in enumerate(borders[:-1])]
    with exclusive(out):
        _refuse_others(out, wanted)
        targets = [out / SHARD.format(number) for number in range(shards)]
        for target, shard, (first, end) in zip(targets, wanted, pairwise(borders), strict=True):
            report(f"Shard {shard['number'] + 1} of {shards}: {end - first:,} passages")
            if not _there(target, shard):
                _write(snapshot, rows[first:end], target, shard, report, progress)
    return targets


def _borders(snapshot: Snapshot, rows: Rows, shards: int) -> list[int]:
    """Places (shards + 1,) in `rows` between which the shards lie, none within a page."""
    if shards < 1:
        raise QueryError(f"an index cannot be cut into {shards} shards; name 1 or more")
    borders = [0]
    for number in range(1, shards):
        border = len(rows) * number // shards
        while 0 < border < len(rows) and _page(snapshot, rows, border - 1) == _page(
            snapshot, rows, border
        ):
            border += 1
        borders.append(border)
    borders.append(len(rows))
    if any(first >= end for first, end in pairwise(borders)):
        raise QueryError(
            f"{snapshot.directory} holds {snapshot.page_count:,} pages, which cannot be cut into "
            f"{shards} shards of about equal size; name fewer"
        )
    return borders


def _page(snapshot: Snapshot, rows: Rows, place: int) -> str:
    return snapshot.take([int(rows[place])])[0].page_id


def _wanted(snapshot: Snapshot, number: int, of: int, first_row: int) -> dict[str, Any]:
    return {"number": number, "of": of, "first_row": first_row, "whole": snapshot.version}


def _refuse_others(out: Path, wanted: list[dict[str, Any]]) -> None:
    for path in sorted(out.glob(PATTERN)):
        try:
            manifest = read_manifest(path, kind=KIND, version=VERSION, remedy=REMEDY)
        except ArtefactError:
            continue  # unfinished or damaged: it is made anew, or missed by who reads it
        if manifest.settings.get("shard") not in wanted:
            raise ArtefactMismatch(
                f"{path} is of another index, or of one cut otherwise; choose another --out, or "
                "remove it"
            )


def _there(target: Path, shard: dict[str, Any]) -> bool:
    try:
        manifest = verified_manifest(target, kind=KIND, version=VERSION, remedy=REMEDY)
    except ArtefactError:
        return False
    return bool(manifest.settings["shard"] == shard)


def _write(
    snapshot: Snapshot,
    rows: Rows,
    target: Path,
    shard: dict[str, Any],
    report: Report,
    progress: Progress,
) -> None:
    settings = {**snapshot.manifest.settings, "shard": shard}
    work = target.with_name(f"{target.name}.partial")
    start_or_resume(work, settings, report)
    directory = work / "index" / GENERATION.format(1)
    directory.mkdir(exist_ok=True)
    store = write_passages(_passages(snapshot, rows), directory)
    kind = wished_kind(settings, len(store), snapshot.base.vectors.dimension)
    write_vectors(
        lambda first: snapshot.stored(rows[first : first + CHUNK]),
        len(store),
        directory,
        kind,
        progress,
    )
    nearest = index_part(
        directory,
        kind,
        work,
        questions=sample_questions(snapshot, kind),
        like=snapshot.base.words,
        report=report,
        progress=progress,
    )
    made = {"generation": directory.name, "kind_chosen": kind.name, "nearest": nearest}
    seal(
        work / "index",
        kind=KIND,
        version=VERSION,
        settings={**settings, **made, "folded": 0},
        counts={"passages": len(store), "pages": len(PageTable(directory / PAGES))},
    )
    replace_directory(work / "index", target)
    shutil.rmtree(work)


def _passages(snapshot: Snapshot, rows: Rows) -> Iterator[Passage]:
    for first in range(0, len(rows), CHUNK):
        yield from snapshot.take(rows[first : first + CHUNK].tolist())
