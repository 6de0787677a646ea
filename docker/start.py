"""The first process of the container: prepares what is missing, then becomes `rag-rt`.

What was prepared is noted on the volume together with the image and the settings it was prepared
by. The next start of the same image with the same settings goes straight on to serving.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

NOTE = Path(os.environ["RAG_RT_HOME"]) / ".prepared"
OURS, OF_SERVICE = "RAG_RT_", "RAG_RT_SERVICE_"  # nothing is prepared by how it is served
RAY = "ray://"  # begins the name of an index that a cluster holds
EVERY = 10.0  # seconds between two lines of progress in the log


def identity() -> str:
    """A digest of everything that decides what is prepared: packages, our sources, settings."""
    packages = sorted(f"{found.name}=={found.version}" for found in metadata.distributions())
    sources = metadata.distribution("rag-rt").read_text("RECORD") or ""
    settings = sorted(
        f"{k}={v}"
        for k, v in os.environ.items()
        if k.startswith(OURS) and not k.startswith(OF_SERVICE)
    )
    return hashlib.sha256("\n".join([*packages, sources, *settings]).encode()).hexdigest()


def is_prepared() -> bool:
    """Whether this image with these settings has prepared the volume before."""
    return NOTE.is_file() and NOTE.read_text() == identity()


def prepare() -> None:
    """Do what `rag-rt setup` does, with lines of progress that a log can hold."""
    from rag_rt.failures import exit_codes
    from rag_rt.setting_up import set_up
    from rag_rt.settings import load_settings
    from rag_rt.terminal import say
    from retriever.encoders import Progress

    @contextmanager
    def lines(title: str) -> Iterator[Progress]:
        said = time.monotonic()

        def update(done: int, total: int) -> None:
            nonlocal said
            if time.monotonic() - said >= EVERY:
                said = time.monotonic()
                say(f"{title}: {done:,} of {total:,}")

        yield update

    with exit_codes("rag-rt"):
        set_up(load_settings(), say, lines)
        NOTE.write_text(identity())


def join_cluster(address: str, *, serving: bool) -> None:
    """Make this container a node of a Ray cluster, on which nothing runs, and wait for that.

    The node ends with the cluster's head; it then joins the head that follows.

    Args:
        address: HOST:PORT of the head.
        serving: wait until the cluster holds an index, too.
    """
    import ray

    from retriever.cluster import connect
    from retriever.cluster_index import ClusterIndex
    from retriever.errors import RetrieverError

    store = 100 * 1000**2  # bytes; Ray's default takes a third of the memory
    options = ["--num-cpus=0", f"--object-store-memory={store}", "--include-log-monitor=false"]
    node = ["ray", "start", "--block", f"--address={address}", *options]
    again = ["sh", "-c", f'while true; do "$@"; sleep {EVERY}; done', "node"]
    subprocess.Popen([*again, *node])  # noqa: S603
    while True:
        try:
            ClusterIndex(address) if serving else connect(address)
        except RetrieverError as reason:
            print(f"Waiting for the cluster: {reason}", flush=True)
            time.sleep(EVERY)
        else:
            ray.shutdown()
            return


def stop(number: int, frame: object) -> NoReturn:
    """End on SIGTERM: the first process of a container has no default action for it."""
    sys.exit(128 + number)


def main(arguments: list[str]) -> None:
    """Run `rag-rt` with these arguments in the place of this process."""
    signal.signal(signal.SIGTERM, stop)
    if arguments[:1] == ["setup"] or (arguments[:1] == ["serve"] and not is_prepared()):
        prepare()
    retriever = os.environ.get("RAG_RT_RETRIEVER", "")
    # Where Ray is missing, `rag-rt` says so.
    if retriever.startswith(RAY) and find_spec("ray") and arguments[:1] != ["setup"]:
        join_cluster(retriever.removeprefix(RAY), serving=arguments[:1] == ["serve"])
    if arguments[:1] != ["setup"]:
        os.execvp("rag-rt", ["rag-rt", *arguments])  # noqa: S606, S607


if __name__ == "__main__":
    main(sys.argv[1:])
