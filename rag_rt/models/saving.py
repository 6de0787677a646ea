"""Writing weights."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

_DISK_FULL = f"os error {errno.ENOSPC}"  # how safetensors passes on what the system said


@contextmanager
def saving_weights() -> Iterator[None]:
    """Report a full disk as Python does, where safetensors has an error of its own for it.

    Raises:
        OSError: the disk is full (ENOSPC).
    """
    try:
        yield
    except SafetensorError as error:
        if _DISK_FULL in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise
