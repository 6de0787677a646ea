"""Numba's compiler with types that mypy understands, and a cache that knows all our sources."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import torch
from numba.core import config as untyped_config
from platformdirs import user_cache_path

config: Any = untyped_config
Function = TypeVar("Function", bound=Callable[..., Any])


def _cache_directory() -> str | None:
    """A directory for compiled code, named after the sources; None where none can be written.

    Numba itself notices changes of the compiled function's own file alone.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    directory = Path(config.CACHE_DIR or user_cache_path("rag-rt")) / f"kernels-{digest}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return str(directory) if os.access(directory, os.W_OK) else None


_CACHE = _cache_directory()


def use_threads(count: int) -> None:
    """Let compiled code run on so many threads.

    Numba starts its threads at its first call, and resets torch's number then: they share OpenMP.
    """
    before = torch.get_num_threads()
    numba.set_num_threads(count)
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


def threads() -> int:
    """How many threads compiled code shall run on: as many as torch, or all that numba has."""
    return min(torch.get_num_threads(), int(config.NUMBA_NUM_THREADS))


def compiled(*, parallel: bool = False, fast: bool = False) -> Callable[[Function], Function]:
    """Compile a function when it is first called, or take it from the cache.

    Args:
        parallel: run its `prange` loops on several threads.
        fast: let sums and maxima be taken in another, fixed, order.
    """

    def decorated(function: Function) -> Function:
        before = config.CACHE_DIR
        config.CACHE_DIR = _CACHE or before
        try:
            made = numba.njit(
                parallel=parallel,
                nogil=True,
                error_model="numpy",
                fastmath={"reassoc", "nsz", "nnan", "contract"} if fast else {"contract"},
                cache=_CACHE is not None,
            )(function)
        finally:
            config.CACHE_DIR = before
        return cast("Function", made)

    return decorated
