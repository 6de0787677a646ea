"""Shards on a Ray cluster: each held by actors on different nodes, which Ray brings back when lost.

Whoever uses this module runs on a node of the cluster: calls then go from process to process, and
not through the head, as they do with Ray Client, whose sessions Ray does not keep when a
connection is lost for half a minute.
"""

import logging
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util import list_named_actors
from ray.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from retriever.errors import ArtefactMismatch, QueryError, RetrieverError
from retriever.index import Snapshot, open_snapshot
from retriever.parts import Report
from retriever.shards import ShardFacts, read_shards

NAMESPACE = "rag-rt"
NEAREST = "auto"  # Ray's word for the cluster that this machine is a node of
CPUS = 0.5  # of a node for each shard on it: a search takes a core for milliseconds
AT_ONCE = 4  # questions that a shard works on: a slow one holds up no quick one
JOINING = 120.0  # seconds for the nodes of a cluster that was just started; a busy one took 40
PLACING = 60.0  # seconds in which Ray is to find nodes
OPENING = 600.0  # seconds in which a shard is to be read; checking 2 GB takes a few
CONNECTING = 5.0  # seconds

REMOVE = "'rag-rt cluster remove'"
_NAME = re.compile(r"shard-(\d+)-replica-(\d+)")
_QUESTIONS: Mapping[str, Callable[..., Any]] = {
    "search": Snapshot.search,
    "search_words": Snapshot.search_words,
    "similarities": Snapshot.similarities,
    "take": Snapshot.take,
    "page_ids": Snapshot.page_ids,
    "find": Snapshot.find,
}


class Shard:
    """An actor that holds a shard, and answers what a snapshot of an index answers."""

    def __init__(self, directory: str, version: str) -> None:
        """Open a shard.

        Raises:
            ArtefactError: on this node it is missing, damaged, or another one.
        """
        self._snapshot = open_snapshot(Path(directory))
        self._facts = ShardFacts.of_manifest(self._snapshot.manifest, Path(directory))
        self._require(version)

    def facts(self) -> tuple[ShardFacts, str]:
        """What it holds, and the id of the node that it is on."""
        return self._facts, ray.get_runtime_context().get_node_id()

    def answer(self, version: str, question: str, *arguments: Any) -> Any:
        """What a method of `Snapshot` returns, for whoever means this version of the shard."""
        self._require(version)
        return _QUESTIONS[question](self._snapshot, *arguments)

    def _require(self, version: str) -> None:
        if self._snapshot.version != version:
            raise ArtefactMismatch(
                f"{self._snapshot.directory} holds another shard than the one that was deployed, "
                f"or has changed since; run {REMOVE}, then deploy anew"
            )


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """How an actor that holds a shard is, or that a shard has none."""

    name: str
    node: str
    """The address of its node; empty where it does not answer."""
    passages: int
    problem: str
    """Why it does not answer; empty where it does."""


def connect(address: str) -> None:
    """Join a cluster, once a process.

    Args:
        address: HOST:PORT of its head, or "auto" for the one that this machine is a node of.

    Raises:
        RetrieverError: it cannot be reached, or this machine is no node of it.
    """
    if ray.is_initialized():
        return
    if address != NEAREST:
        _require_reachable(address)
    try:
        with _own_signals():
            ray.init(address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        raise RetrieverError(
            f"cannot join the Ray cluster at {address}: {error}; make this machine a node of it "
            "with 'ray start --address HOST:PORT --num-cpus 0'"
        ) from error


def deploy(
    directory: Path,
    replicas: int,
    address: str = NEAREST,
    *,
    nodes: int = 1,
    report: Report = lambda message: None,
) -> list[ReplicaStatus]:
    """Have every shard of a directory held by so many actors, each on another node.

    What is deployed already stays; what was lost is deployed again. The actors outlive this
    process.

    Args:
        directory: what `split_index` wrote; every node must find it under this very path.
        replicas: actors for each shard.
        address: see `connect`.
        nodes: how many are waited for, and not for ever: those that come later get no shard.
        report: told in a sentence what each step does.

    Raises:
        ArtefactError: a shard is missing or damaged, or the cluster holds another index.
        QueryError: `replicas` is below 1.
        RetrieverError: the cluster cannot be reached, or has no room.
    """
    if replicas < 1:
        raise QueryError(f"{replicas} replicas of a shard hold nothing; name 1 or more")
    shards = read_shards(directory)
    connect(address)
    # Ray warns that an actor ends with its placement group, which is removed with it alone.
    logging.getLogger("ray.actor").setLevel(logging.ERROR)
    _wait_for(nodes, report)
    report(f"Deploying {len(shards)} shards, {replicas} replicas each")
    for path, facts in shards:
        group = _group(facts.number, replicas, report)
        for replica in range(replicas):
            _start(path.resolve(), facts, group, replica)
    found = status(address, OPENING)
    problems = [replica for replica in found if replica.problem]
    if problems:
        raise RetrieverError(f"{problems[0].name} cannot be used: {problems[0].problem}")
    _require_deployed(shards)
    return found


def status(address: str = NEAREST, patience: float = 10.0) -> list[ReplicaStatus]:
    """How each actor that holds a shard is, asked all at once; and which shards have none.

    Raises:
        RetrieverError: the cluster cannot be reached.
    """
    connect(address)
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in _nodes()}
    replicas, missing = [], set[int]()
    for name, found in ask_facts(deployed_names(), patience).items():
        if isinstance(found, Exception):
            reason = (str(found).strip().splitlines() or ["no answer"])[-1]
            replicas.append(ReplicaStatus(name, "", 0, reason))
        else:
            facts, node = found
            replicas.append(ReplicaStatus(name, nodes.get(node, node), facts.passages, ""))
            missing |= set(range(facts.of))
    missing -= {shard_of(replica.name) for replica in replicas}
    gaps = [ReplicaStatus(f"shard-{shard}", "", 0, "not deployed") for shard in sorted(missing)]
    return replicas + gaps


def remove(address: str = NEAREST) -> int:
    """Remove all shards from a cluster; nothing on a disk is touched.

    Returns:
        how many actors there were.

    Raises:
        RetrieverError: the cluster cannot be reached.
    """
    connect(address)
    names = deployed_names()
    for name in names:
        ray.kill(ray.get_actor(name, NAMESPACE))
    for shard in {shard_of(name) for name in names}:
        if (group := _existing_group(shard)) is not None:
            remove_placement_group(group)
    deadline = time.monotonic() + PLACING
    while deployed_names() and time.monotonic() < deadline:
        time.sleep(0.05)  # Ray forgets a name soon after the actor's end
    return len(names)


def deployed_names() -> list[str]:
    """The names of all actors that hold shards, shard by shard."""
    names = [name for name in list_named_actors() if _NAME.fullmatch(name)]
    return sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def shard_of(name: str) -> int:
    """The number of the shard that an actor of this name holds."""
    return int(name.split("-")[1])


def ask_facts(
    names: Sequence[str], patience: float
) -> dict[str, tuple[ShardFacts, str] | Exception]:
    """What actors hold and on which node, or why they do not say; `patience` in seconds for all."""
    asked: dict[str, Any] = {}
    found: dict[str, tuple[ShardFacts, str] | Exception] = {}
    for name in names:
        try:
            asked[name] = ray.get_actor(name, NAMESPACE).facts.remote()
        except ValueError as gone:  # since it was listed
            found[name] = gone
    deadline = time.monotonic() + patience
    for name, reference in asked.items():
        try:
            found[name] = ray.get(reference, timeout=max(0.0, deadline - time.monotonic()))
        except (RayError, RetrieverError, OSError) as error:
            found[name] = error
    return {name: found[name] for name in names}


def _start(path: Path, facts: ShardFacts, group: PlacementGroup, replica: int) -> None:
    ray.remote(Shard).options(
        name=f"shard-{facts.number}-replica-{replica}",
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_concurrency=AT_ONCE,
        num_cpus=CPUS,
        scheduling_strategy=PlacementGroupSchedulingStrategy(group, replica),
    ).remote(str(path), facts.version)


def _require_deployed(shards: Sequence[tuple[Path, ShardFacts]]) -> None:
    """Refuse to leave shards of another index that were there before."""
    versions = {facts.number: facts.version for _, facts in shards}
    for name, found in ask_facts(deployed_names(), OPENING).items():
        if isinstance(found, Exception) or versions.get(shard_of(name)) != found[0].version:
            raise ArtefactMismatch(
                f"the cluster holds another index ({name} is not of these shards); run {REMOVE} "
                "first, then deploy"
            )


def _group(shard: int, replicas: int, report: Report) -> PlacementGroup:
    """Room for the replicas of a shard, on different nodes where there are as many."""
    group = _existing_group(shard)
    if group is None:
        group = _new_group(shard, replicas, report)
    if group.bundle_count != replicas:
        raise ArtefactMismatch(
            f"shard {shard} is deployed with {group.bundle_count} replicas, not {replicas}; run "
            f"{REMOVE} first, then deploy"
        )
    return group


def _new_group(shard: int, replicas: int, report: Report) -> PlacementGroup:
    enough = _usable_nodes() >= replicas
    if not enough:
        report(f"Fewer nodes than {replicas}: replicas of shard {shard} share some")
    group: PlacementGroup = placement_group(
        [{"CPU": CPUS}] * replicas,
        strategy="STRICT_SPREAD" if enough else "SPREAD",
        name=_group_name(shard),
        lifetime="detached",
    )
    if not group.wait(PLACING):
        remove_placement_group(group)
        raise RetrieverError(
            f"the cluster has no room for {replicas} replicas of shard {shard}: each takes {CPUS} "
            "CPUs; add nodes, or deploy fewer replicas"
        )
    return group


def _wait_for(nodes: int, report: Report) -> None:
    deadline = time.monotonic() + JOINING
    while (joined := _usable_nodes()) < nodes:
        if time.monotonic() > deadline:
            report(f"Only {joined} of {nodes} nodes have joined the cluster; going on with them")
            return
        time.sleep(0.25)


def _existing_group(shard: int) -> PlacementGroup | None:
    try:
        group: PlacementGroup = get_placement_group(_group_name(shard))
    except ValueError:
        return None
    return group


def _group_name(shard: int) -> str:
    return f"{NAMESPACE}-shard-{shard}"


def _usable_nodes() -> int:
    return sum(node["Alive"] and node["Resources"].get("CPU", 0) >= CPUS for node in _nodes())


def _nodes() -> list[dict[str, Any]]:
    return ray.nodes()  # type: ignore[no-any-return, no-untyped-call]


def _require_reachable(address: str) -> None:
    """Look whether anybody listens: Ray itself ends the process where its head does not answer."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal()):
        raise RetrieverError(f"'{address}' is no address of a Ray cluster; expected HOST:PORT")
    try:
        socket.create_connection((host, int(port)), CONNECTING).close()
    except (OSError, OverflowError) as error:
        raise RetrieverError(
            f"no Ray cluster answers at {address} ({error}); start one with 'ray start --head', "
            "or correct the address"
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does on SIGTERM, which Ray would replace."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
