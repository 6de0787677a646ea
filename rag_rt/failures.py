"""How a command ends: every foreseen failure is one line on standard error and an exit code."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from rag_rt.errors import InvalidRequest, RagRtError, SettingsError
from retriever.errors import QueryError, RetrieverError, SourceError


@contextmanager
def exit_codes(program: str) -> Iterator[None]:
    """End the process with 2 for wrong input and 1 for what failed, without a trace."""
    try:
        yield
    except (InvalidRequest, QueryError, SourceError, SettingsError) as error:
        _end(program, str(error), 2)
    except (RagRtError, RetrieverError) as error:
        _end(program, str(error), 1)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _end(program, "the disk is full; free some space and run the same command again", 1)
        _end(program, str(error), 1)


def _end(program: str, message: str, code: int) -> NoReturn:
    print(f"{program}: {message}", file=sys.stderr)
    sys.exit(code)
