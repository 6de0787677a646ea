"""Numba's compiler with types that mypy understands, and a cache that knows all our sources."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
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
    return str(directory)


_CACHE = _cache_directory()


def threads_at_most() -> int:
    """The most threads that compiled code can use."""
    return int(config.NUMBA_NUM_THREADS)


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
