"""A Ray cluster of four nodes on this machine, which a test may kill one by one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NODES = 3
CPUS = 2
LIGHT = {"object_store_memory": 80 * 1024**2, "include_dashboard": False, "no_monitor": True}
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to Ray's makers
    "RAY_enable_worker_prestart": "0",  # no process before it is needed
    "RAY_worker_register_timeout_seconds": "240",  # where all cores are busy
}


@contextmanager
def ray_cluster() -> Iterator[Any]:
    """A head, on which nothing runs, and `NODES` nodes; this process is joined to the head."""
    os.environ.update(ENVIRONMENT)  # of the processes that are started
    import ray
    from ray.cluster_utils import Cluster

    from retriever.cluster import connect

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **LIGHT})
    try:
        add_nodes(cluster)
        connect(cluster.address)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


def add_nodes(cluster: Any) -> None:
    """Have `NODES` nodes beside the head again."""
    while len(cluster.worker_nodes) < NODES:
        cluster.add_node(num_cpus=CPUS, **LIGHT)
