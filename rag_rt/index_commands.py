"""`rag-rt index`: build, inspect, search and change indexes."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_rt.cluster_commands import encoding_on, split
from rag_rt.errors import InvalidRequest
from rag_rt.search_command import search
from rag_rt.settings import Settings, load_settings

if TYPE_CHECKING:
    from retriever.index import Snapshot
    from retriever.updating import Change

MEGABYTE = 10**6

app = typer.Typer(no_args_is_help=True, help="Build, inspect, search and change indexes.")

app.command()(search)
app.command()(split)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Directory = Annotated[Path, typer.Argument(help="The index.")]
DirectoryOrDefault = Annotated[
    Path | None, typer.Argument(help="The index; by default the one of the settings.")
]
SourceName = Annotated[
    str,
    typer.Option(
        help="The format of the corpus: starter, kilt, dpr, mediawiki, wikiextractor, huggingface "
        "or jsonl (docs/corpora.md)."
    ),
]
CorpusPath = Annotated[
    str | None,
    typer.Argument(help="The corpus: a file, a folder, a name on the Hub, or - (where it fits)."),
]
MaxMalformed = Annotated[
    int, typer.Option(min=0, help="Malformed records to skip, each reported, before giving up.")
]
Encoder = Annotated[
    str | None, typer.Option(help="The encoder; by default the one of the settings.")
]


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="The index directory to write.")],
    source: SourceName,
    path: CorpusPath = None,
    encoder: Encoder = None,
    kind: Annotated[
        str,
        typer.Option(
            help="How vectors are searched: auto, flat, hnsw, ivfpq, sq, binary, or a FAISS "
            "factory string."
        ),
    ] = "auto",
    memory: Annotated[
        int, typer.Option(min=1, help="Megabytes that searching may hold, for --kind auto.")
    ] = 2000,
    max_malformed: MaxMalformed = 100,
    replace: Annotated[
        bool, typer.Option(help="Replace an index of another corpus, encoder or kind.")
    ] = False,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Encode on the Ray cluster with its head at HOST:PORT (docs/cluster.md)."
        ),
    ] = None,
) -> None:
    """Build an index, or finish one that was begun.

    Example: rag-rt index build --source kilt kilt_knowledgesource.json --out kilt-index
    """
    from rag_rt.retrieval import encoder_of
    from rag_rt.terminal import bar, say
    from retriever.building import KindWish, build_index, encode_here
    from retriever.sources import open_source
    from retriever.sources.skipping import Skipped

    corpus = open_source(source, path)
    wish = KindWish(kind, memory * MEGABYTE)
    settings = _settings(encoder)
    encoding = encode_here if cluster is None else encoding_on(cluster, settings)
    with bar("Building", "passages") as progress:
        manifest = build_index(
            corpus,
            encoder_of(settings),
            out,
            kind=wish,
            encoding=encoding,
            skipped=Skipped(max_malformed, say),
            replace=replace,
            report=say,
            progress=progress,
        )
    counts = manifest.counts
    if counts["skipped"]:
        say(f"{counts['skipped']:,} malformed records were left out")
    say(
        f"Index ready at {out}: {counts['passages']:,} passages of {counts['pages']:,} pages, "
        f"kind {manifest.settings['kind_chosen']}"
    )


@app.command()
def info(directory: DirectoryOrDefault = None, as_json: AsJson = False) -> None:
    """Open an index and say what it holds.

    Example: rag-rt index info data/index
    """
    from retriever.index import open_snapshot

    _print_facts(_facts(open_snapshot(_named(directory))), as_json)


@app.command()
def verify(directory: DirectoryOrDefault = None, as_json: AsJson = False) -> None:
    """Compare every byte of an index with what was written, and say what it holds.

    Example: rag-rt index verify data/index
    """
    from rag_rt.terminal import say
    from retriever.index import verify as verify_index

    snapshot = verify_index(_named(directory), lambda name: say(f"Reading {name}"))
    _print_facts(_facts(snapshot), as_json)


@app.command()
def add(
    directory: Directory,
    source: SourceName,
    path: CorpusPath = None,
    encoder: Encoder = None,
    max_malformed: MaxMalformed = 100,
    as_json: AsJson = False,
) -> None:
    """Add pages to an index, also while it is served; pages that are there are left alone.

    Example: rag-rt index add data/index --source jsonl new-pages.jsonl
    """
    _add(directory, source, path, encoder, max_malformed, as_json, replace=False)


@app.command()
def update(
    directory: Directory,
    source: SourceName,
    path: CorpusPath = None,
    encoder: Encoder = None,
    max_malformed: MaxMalformed = 100,
    as_json: AsJson = False,
) -> None:
    """Add pages to an index, in the place of those that have their ids.

    Example: rag-rt index update data/index --source jsonl changed-pages.jsonl
    """
    _add(directory, source, path, encoder, max_malformed, as_json, replace=True)


@app.command()
def delete(
    directory: Directory,
    page_ids: Annotated[list[str] | None, typer.Argument(help="Ids of pages.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with an id a line.")] = None,
    as_json: AsJson = False,
) -> None:
    """Delete pages from an index, also while it is served.

    Example: rag-rt index delete data/index "Marie Curie"
    """
    from retriever.updating import delete_pages

    ids = list(page_ids or [])
    if file is not None:
        ids += [line for line in file.read_text(encoding="utf-8").splitlines() if line]
    if not ids:
        raise InvalidRequest("page_ids", "no page is named; give ids, or --file with an id a line")
    _print_change(delete_pages(directory, ids), as_json)


@app.command()
def compact(directory: Directory, as_json: AsJson = False) -> None:
    """Fold all changes of an index into a new base, which the served one keeps until it is whole.

    Example: rag-rt index compact data/index
    """
    from rag_rt.terminal import bar, say
    from retriever.index import open_snapshot
    from retriever.updating import compact as compact_index

    with bar("Compacting", "passages") as progress:
        if not compact_index(directory, report=say, progress=progress):
            say("Nothing has changed since the index was built or compacted")
    _print_facts(_facts(open_snapshot(directory)), as_json)


def _add(
    directory: Path,
    source: str,
    path: str | None,
    encoder: str | None,
    max_malformed: int,
    as_json: bool,
    *,
    replace: bool,
) -> None:
    from rag_rt.retrieval import encoder_of
    from rag_rt.terminal import say
    from retriever.index import open_snapshot
    from retriever.sources import open_source
    from retriever.sources.skipping import Skipped
    from retriever.updating import add_pages

    open_snapshot(directory)  # says what is wrong before the encoder is loaded
    change = add_pages(
        directory,
        encoder_of(_settings(encoder)),
        open_source(source, path).pages(Skipped(max_malformed, say)),
        replace_pages=replace,
        acknowledged=lambda change: None if as_json else say(_told(change)),
    )
    _print_change(change, as_json)


def _settings(encoder: str | None) -> Settings:
    settings = load_settings()
    return settings if encoder is None else settings.model_copy(update={"encoder": encoder})


def _named(directory: Path | None) -> Path:
    return directory or load_settings().index_directory


def _facts(snapshot: "Snapshot") -> dict[str, Any]:
    settings = dict(snapshot.manifest.settings)
    nearest = settings.pop("nearest")
    return {
        **settings,
        "passages": len(snapshot),
        "pages": snapshot.page_count,
        "skipped": snapshot.manifest.counts["skipped"],
        "updates": len(snapshot.updates),
        "deleted_passages": snapshot.row_count - len(snapshot),
        **{f"nearest_{name}": value for name, value in nearest.items()},
        "bytes": sum(file["bytes"] for file in snapshot.manifest.files.values()),
    }


def _print_facts(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    width = max(map(len, facts)) + 1
    for name, value in facts.items():
        typer.echo(f"{name:{width}} {value:,}" if type(value) is int else f"{name:{width}} {value}")


def _print_change(change: "Change", as_json: bool) -> None:
    typer.echo(json.dumps(asdict(change)) if as_json else _told(change))


def _told(change: "Change") -> str:
    return (
        f"{change.added:,} pages added, {change.replaced:,} replaced, {change.deleted:,} deleted, "
        f"{change.left_alone:,} left alone"
    )
