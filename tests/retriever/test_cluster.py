"""An index on a real Ray cluster, a node of which is killed while it is searched and built."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from typer.testing import CliRunner

from rag_rt.cluster_commands import cluster_app
from retriever.building import build_index
from retriever.errors import ArtefactMismatch, QueryError, RetrieverError
from retriever.index import Index
from retriever.named_indexes import open_index
from retriever.parts import CHUNK
from retriever.passages import Passage
from retriever.search_modes import SearchMode
from retriever.searching import Retriever
from retriever.sharding import split_index
from retriever.vectors import Progress, Vectors
from tests.retriever.hash_encoder import HashEncoder
from tests.retriever.ray_cluster import NODES, add_nodes, ray_cluster
from tests.retriever.test_sharding import WORDS, corpus
from tests.retriever.test_updating import build, page, source

MODES: tuple[SearchMode, ...] = ("dense", "bm25", "hybrid")
pytestmark = [
    # Ray leaves sockets and files open to the end of the process, and speaks of its own future.
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with ray_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("whole") / "index", corpus(150))


@pytest.fixture(scope="module")
def shards(index: Path) -> Path:
    out = index.with_name("shards")
    split_index(index, 3, out)
    return out


@pytest.fixture
def deployed(cluster: Any, shards: Path) -> Iterator[str]:
    """The address of the cluster, on which two replicas of each shard are."""
    from retriever import cluster as ray_shards

    add_nodes(cluster)
    ray_shards.deploy(shards, 2, cluster.address)
    yield cluster.address
    ray_shards.remove(cluster.address)


def test_no_query_fails_or_differs_when_a_node_dies(
    cluster: Any, deployed: str, index: Path
) -> None:
    from retriever import cluster as ray_shards

    here = Retriever(Index(index), HashEncoder())
    there = Retriever(open_index(f"ray://{deployed}", index), HashEncoder())
    assert there.corpus == here.corpus
    victim = _holder(cluster)
    killer = Thread(target=cluster.remove_node, args=(victim,), kwargs={"allow_graceful": False})
    lost = 0
    for number in range(300):
        if number == 100:
            killer.start()
        question = f"{WORDS[number % 10]} {WORDS[number // 10 % 10]} of {number}"
        mode = MODES[number % 3]
        assert there.search(question, 10, mode) == here.search(question, 10, mode)
        if number > 100 and not lost:
            lost = sum(bool(replica.problem) for replica in ray_shards.status(patience=0.5))
    killer.join()
    assert lost  # the node was in use, and was away while queries ran
    _until(lambda: not any(replica.problem for replica in ray_shards.status()))
    found = there.search("salt", 50, "bm25")
    assert found == here.search("salt", 50, "bm25")
    assert there.find(found[0].passage.id) == found[0].passage
    assert there.find("nobody:0") is None
    with pytest.raises(QueryError):
        there.index.current().search(HashEncoder().encode_questions(["a"])[:, :3], 2)


def test_a_replica_that_hangs_is_passed_over(deployed: str, index: Path) -> None:
    from retriever.cluster_index import PATIENCE

    here = Retriever(Index(index), HashEncoder())
    there = Retriever(open_index(f"ray://{deployed}", index), HashEncoder())
    below = psutil.Process().children(recursive=True)
    hanging = next(one for one in below if one.cmdline()[:1] == ["ray::Shard"])
    hanging.suspend()
    try:
        times = []
        for question in WORDS:
            begin = time.monotonic()
            assert there.search(question, 10, "dense") == here.search(question, 10, "dense")
            times.append(time.monotonic() - begin)
    finally:
        hanging.resume()
    # It would be waited for at every second question, but rests after the first.
    assert 1 <= sum(seconds > PATIENCE for seconds in times) < len(times) // 2


def _holder(cluster: Any) -> Any:
    """A node on which a shard is."""
    from retriever.cluster import ask_facts, deployed_names

    held = {facts[1] for facts in ask_facts(deployed_names(), 60).values()}  # type: ignore[index]
    return next(node for node in cluster.worker_nodes if node.node_id in held)


def _until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _are_apart() -> bool:
    """Whether two replicas of each of three shards are there, on different nodes."""
    from retriever.cluster import ask_facts, deployed_names

    found = ask_facts(deployed_names(), 60)
    places = {(name.split("-")[1], answer[1]) for name, answer in found.items()}  # type: ignore[index]
    return len(found) == len(places) == 6


def test_replicas_of_a_shard_are_on_different_nodes(deployed: str) -> None:
    assert _are_apart()


def test_nodes_that_are_about_to_join_are_waited_for(cluster: Any, shards: Path) -> None:
    from retriever import cluster as ray_shards

    for node in list(cluster.worker_nodes)[1:]:
        cluster.remove_node(node)
    with ThreadPoolExecutor() as pool:
        deploying = pool.submit(ray_shards.deploy, shards, 2, cluster.address, nodes=NODES)
        time.sleep(2)
        assert not ray_shards.deployed_names()
        add_nodes(cluster)
        deploying.result()
    apart = _are_apart()
    ray_shards.remove(cluster.address)
    assert apart


def test_a_shard_that_is_gone_is_named_and_deployed_again(
    deployed: str, index: Path, shards: Path
) -> None:
    import ray

    from retriever import cluster as ray_shards

    there = Retriever(open_index(f"ray://{deployed}", index), HashEncoder())
    before = there.search("salt", 5)
    for replica in range(2):
        ray.kill(ray.get_actor(f"shard-1-replica-{replica}"))
    with pytest.raises(RetrieverError, match=r"shard 1 \(of 3\).*cluster deploy"):
        there.search("salt", 5)
    with pytest.raises(RetrieverError, match="shard 1 is missing"):
        there.search("salt", 5)
    ray_shards.deploy(shards, 2, deployed)
    assert there.search("salt", 5) == before


def test_another_index_takes_the_place_only_of_a_removed_one(
    deployed: str, index: Path, tmp_path: Path
) -> None:
    from retriever import cluster as ray_shards

    there = Retriever(open_index(f"ray://{deployed}", index), HashEncoder())
    split_index(build(tmp_path / "other", [page("a", "Salt is new.")]), 1, tmp_path / "shards")
    with pytest.raises(ArtefactMismatch, match="another index"):
        ray_shards.deploy(tmp_path / "shards", 2, deployed)
    assert ray_shards.remove(deployed) == 6
    ray_shards.deploy(tmp_path / "shards", 1, deployed)
    with contextlib.suppress(RetrieverError):
        there.search("salt", 1)
    assert [hit.passage.text for hit in there.search("salt", 1)] == ["Salt is new."]


def test_commands_tell_what_is_deployed(cluster: Any, shards: Path) -> None:
    import ray

    add_nodes(cluster)
    address = ["--address", cluster.address]
    run = partial(CliRunner().invoke, cluster_app)
    assert run(["deploy", str(shards), "--replicas", "1", *address]).output.count("passages") == 3
    assert run(["status", *address]).exit_code == 0
    ray.kill(ray.get_actor("shard-2-replica-0"))
    _until(lambda: "not deployed" in run(["status", *address]).output)
    assert run(["status", *address]).exit_code == 1
    assert run(["deploy", str(shards), "--replicas", "1", *address]).exit_code == 0
    assert "3 replicas removed" in run(["remove", *address]).output
    assert run(["status", *address]).exit_code == 1


def test_a_node_lost_while_it_encodes_costs_no_passage(cluster: Any, tmp_path: Path) -> None:
    from retriever.cluster_encoding import ClusterVectors

    add_nodes(cluster)
    pages = [page(f"p{number}", f"Number {number}.") for number in range(12 * CHUNK + 5)]
    build_index(source(pages), HashEncoder(), tmp_path / "here")
    log = tmp_path / "log"
    log.mkdir()

    def kill_who_began_last() -> None:
        _until(lambda: len(list(log.iterdir())) >= 4)
        newest = max(log.iterdir(), key=lambda entry: entry.stat().st_mtime_ns)
        node_id = newest.name.partition("-")[0]
        victim = next(node for node in cluster.worker_nodes if node.node_id == node_id)
        cluster.remove_node(victim, allow_graceful=False)

    killer = Thread(target=kill_who_began_last)
    killer.start()
    build_index(
        source(pages),
        HashEncoder(),
        tmp_path / "there",
        encoding=partial(ClusterVectors, address=cluster.address, opened=partial(SlowEncoder, log)),
    )
    killer.join()
    encoded = Counter(entry.name.partition("-")[2] for entry in log.iterdir())
    assert len(encoded) == 13
    assert max(encoded.values()) > 1  # what the lost node was at
    vectors = "generation-000001/vectors.npy"
    assert (tmp_path / "there" / vectors).read_bytes() == (tmp_path / "here" / vectors).read_bytes()
    assert Index(tmp_path / "there").manifest.digest() == Index(tmp_path / "here").manifest.digest()


class SlowEncoder(HashEncoder):
    """Takes its time, so that a node can be lost meanwhile, and notes which node begins what."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def encode_passages(
        self, passages: Sequence[Passage], progress: Progress | None = None
    ) -> Vectors:
        import ray

        node = ray.get_runtime_context().get_node_id()
        (self._log / f"{node}-{passages[0].id}").touch()
        time.sleep(2)
        return super().encode_passages(passages, progress)
