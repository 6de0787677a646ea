"""The files of an approximate index, written whole or not at all, and read back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import faiss
import numpy as np
import numpy.typing as npt

from retriever.artefacts import atomic_write
from retriever.errors import ArtefactDamaged
from retriever.kinds import ID_BYTES, FaissIndex

_untyped: Any = faiss  # its types leave out what is used here

INDEX = "index.faiss"
LISTS = "lists.bin"  # for each inverted list its codes, then its ids: FAISS's own layout on disk
SIZES = "sizes.npy"
SAMPLE_QUESTIONS = "sample-questions.npy"
SAMPLE_BEST = "sample-best.npy"


def inverted_file(index: FaissIndex) -> FaissIndex | None:
    """The inverted file in an index, if its lists can lie in a file of plain codes and ids."""
    found = faiss.try_extract_index_ivf(index)
    if found is None:
        return None
    ivf: FaissIndex = faiss.downcast_index(found)
    plain = isinstance(faiss.downcast_InvertedLists(ivf.invlists), faiss.ArrayInvertedLists)
    return ivf if plain else None


def write_index(index: FaissIndex, path: Path) -> None:
    """Write an index, and see a full disk as the `OSError` it is.

    FAISS tells its caller that writing failed, but not why.
    """
    with atomic_write(path) as file:
        failures: list[OSError] = []
        writer = _untyped.PyCallbackIOWriter(_catching(file.write, failures))
        try:
            faiss.write_index(index, writer)
        except RuntimeError:
            if failures:
                raise failures[0] from None
            raise


def _catching(write: Callable[[bytes], int], failures: list[OSError]) -> Callable[[bytes], None]:
    def write_all(data: bytes) -> None:
        try:
            write(data)
        except OSError as error:
            failures.append(error)
            raise

    return write_all


def read_array(path: Path) -> npt.NDArray[Any]:
    """Read an array.

    Raises:
        ArtefactDamaged: it is missing, cut off or no array.
    """
    try:
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtefactDamaged(f"{path} cannot be read: {error}; build the index anew") from None
    return array


def read_index(directory: Path) -> FaissIndex:
    """Read an index; inverted lists stay in their file, which is mapped into memory.

    Raises:
        ArtefactDamaged: a file is missing, cut off or no index.
    """
    path = directory / INDEX
    try:
        index = faiss.read_index(str(path))
        ivf = inverted_file(index)
        if ivf is not None:
            path = directory / LISTS
            _map_lists(index, ivf, path, read_array(directory / SIZES))
    except RuntimeError as error:
        reason = str(error).rsplit(": ", 1)[-1]
        raise ArtefactDamaged(f"{path} cannot be read: {reason}; build the index anew") from None
    return index if ivf is None else packed(index, ivf)


def packed(index: FaissIndex, ivf: FaissIndex) -> FaissIndex:
    """An index whose codes are of half bytes, arranged so that many are compared at once.

    FAISS then looks them up in registers (André et al. 2015), five times as fast; codes and ids are
    held in memory for it. Other indexes stay as they are.
    """
    if not (isinstance(ivf, faiss.IndexIVFPQ) and ivf.pq.nbits == 4):
        return index
    whole: Any = faiss.IndexPreTransform(faiss.IndexIVFPQFastScan(ivf))
    empty: Any = faiss.ArrayInvertedLists(ivf.nlist, ivf.code_size)
    ivf.replace_invlists(empty, True)  # unmaps the file
    empty.this.disown()
    chain: Any = index.chain if isinstance(index, faiss.IndexPreTransform) else None
    for place in reversed(range(0 if chain is None else chain.size())):
        whole.prepend_transform(faiss.downcast_VectorTransform(chain.at(place)))
    whole.referenced_objects.append(index)  # it owns the transforms and the centroids
    return cast("FaissIndex", whole)


def _map_lists(index: FaissIndex, ivf: FaissIndex, path: Path, sizes: npt.NDArray[Any]) -> None:
    total = int(sizes.sum())
    expected = total * (ivf.code_size + ID_BYTES)
    found = path.stat().st_size if path.is_file() else 0
    if len(sizes) != ivf.nlist or sizes.dtype != np.uint64 or found != expected:
        raise ArtefactDamaged(
            f"{path} holds {found:,} bytes; {total:,} vectors in {len(sizes):,} lists "
            f"({ivf.nlist:,} trained) take {expected:,}; build the index anew"
        )
    if total:
        lists = _untyped.OnDiskInvertedLists()
        lists.nlist, lists.code_size = ivf.nlist, ivf.code_size
        lists.filename, lists.read_only, lists.totsize = str(path), True, expected
        lists.lists.resize(ivf.nlist)
        lists.set_all_lists_sizes(faiss.swig_ptr(sizes))
        lists.do_mmap()
        ivf.replace_invlists(lists, True)
        lists.this.disown()
    ivf.ntotal = index.ntotal = total
