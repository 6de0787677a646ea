"""Commands for what one machine is too small for: `index split` and `cluster …`."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_rt.settings import Settings
from retriever.cluster_extra import require_ray

if TYPE_CHECKING:
    from retriever.building import Encoding
    from retriever.cluster import ReplicaStatus

Address = Annotated[
    str,
    typer.Option(
        help="HOST:PORT of the Ray cluster's head; 'auto': the cluster that this machine is a "
        "node of."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

cluster_app = typer.Typer(no_args_is_help=True, help="Have a Ray cluster hold an index.")


def split(
    directory: Annotated[Path, typer.Argument(help="The index; it stays as it is.")],
    shards: Annotated[int, typer.Option(min=1, help="How many.")],
    out: Annotated[Path, typer.Option(help="The directory that they go to.")],
) -> None:
    """Cut an index into shards for a cluster, or finish a cut that was begun.

    Example: rag-rt index split data/index --shards 3 --out data/shards
    """
    from rag_rt.terminal import bar, say
    from retriever.sharding import split_index

    with bar("Cutting the index") as progress:
        split_index(directory, shards, out, report=say, progress=progress)
    say(f"{shards} shards ready at {out}")


@cluster_app.command("deploy")
def deploy(
    directory: Annotated[
        Path, typer.Argument(help="The shards; every node must have them at this path.")
    ],
    replicas: Annotated[
        int, typer.Option(min=1, help="Nodes that hold each shard; one may be lost of 2.")
    ] = 2,
    nodes: Annotated[
        int,
        typer.Option(min=1, help="Wait until so many have joined, for two minutes at the most."),
    ] = 1,
    address: Address = "auto",
    as_json: AsJson = False,
) -> None:
    """Have a cluster hold the shards of an index, or bring back what it has lost of them.

    Example: rag-rt cluster deploy data/shards --replicas 2
    """
    require_ray()
    from rag_rt.terminal import say
    from retriever import cluster

    _print(cluster.deploy(directory, replicas, address, nodes=nodes, report=say), as_json)


@cluster_app.command("status")
def status(address: Address = "auto", as_json: AsJson = False) -> None:
    """Say which node holds which shard; exit code 1 where one does not answer.

    Example: rag-rt cluster status
    """
    require_ray()
    from retriever import cluster

    replicas = cluster.status(address)
    _print(replicas, as_json)
    if not replicas or any(replica.problem for replica in replicas):
        raise typer.Exit(1)


@cluster_app.command("remove")
def remove(address: Address = "auto") -> None:
    """Take the shards off a cluster; their files stay.

    Example: rag-rt cluster remove
    """
    require_ray()
    from rag_rt.terminal import say
    from retriever import cluster

    say(f"{cluster.remove(address)} replicas removed")


def encoding_on(address: str, settings: Settings) -> "Encoding":
    """Encoding on the cores of a cluster, for a build by these settings.

    Raises:
        RetrieverError: Ray is not installed.
    """
    require_ray()
    from retriever.cluster_encoding import ClusterVectors
    from retriever.named_encoders import open_encoder

    opened = partial(open_encoder, settings.encoder, settings.encoder_precision)
    return partial(ClusterVectors, address=address, opened=opened)


def _print(replicas: "list[ReplicaStatus]", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(replica) for replica in replicas]))
        return
    if not replicas:
        typer.echo("The cluster holds no index; deploy one with 'rag-rt cluster deploy'.")
    for replica in replicas:
        where = replica.node or "-"
        what = replica.problem or f"{replica.passages:,} passages"
        typer.echo(f"{replica.name:24} {where:16} {what}")
