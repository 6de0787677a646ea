"""The extra `cluster`, which is asked for only where a cluster is used."""

from importlib.util import find_spec

from retriever.errors import RetrieverError


def require_ray() -> None:
    """Say what to install where Ray is not.

    Raises:
        RetrieverError: it is not installed.
    """
    if find_spec("ray") is None:
        raise RetrieverError(
            "a cluster takes Ray, which is not installed; install it with "
            "pip install 'rag-rt[cluster]'"
        )
