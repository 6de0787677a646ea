"""Indexes by name, as `RAG_RT_RETRIEVER` gives them."""

from pathlib import Path

from retriever.cluster_extra import require_ray
from retriever.errors import RetrieverError
from retriever.index import Index
from retriever.index_names import INDEX_NAMES, LOCAL
from retriever.searchable import SearchableIndex

_RAY = "ray://"


def open_index(name: str, directory: Path) -> SearchableIndex:
    """Open the index of a name.

    Args:
        name: see `INDEX_NAMES`.
        directory: of the local index.

    Raises:
        ArtefactError: the local index is missing, unfinished or damaged.
        RetrieverError: the name is none; Ray is not installed; or the cluster cannot be reached,
            or does not hold all shards of an index.
    """
    if name == LOCAL:
        return Index(directory)
    if not name.startswith(_RAY):
        raise RetrieverError(f"'{name}' names no index; expected {INDEX_NAMES} (RAG_RT_RETRIEVER)")
    require_ray()
    from retriever.cluster_index import ClusterIndex

    return ClusterIndex(name.removeprefix(_RAY))
