"""Streams that a client may go on with after a lost connection.

Every event has an id, `ANSWER.NUMBER`. What is kept of an answer is its request and the state of
the index: the same request gives the same events again, from the cache or by writing them anew, and
those that the client has are left out. A request that samples without a seed is given one. Once
the index has changed, nothing that began before it can go on.
"""

import secrets
from collections.abc import Callable
from dataclasses import replace

from rag_rt.requests import MAX_SEED, Request
from retriever.index_files import IndexState
from service.caching import Bounded, is_repeatable
from service.errors import AnswerGone

KEPT = 1024  # answers; of some 2 kB each where questions are of the longest


class Kept:
    """The requests of the latest streams."""

    def __init__(self, index: Callable[[], IndexState]) -> None:
        """Keep nothing yet; `index` gives the state of the index."""
        self._index = index
        self._requests: Bounded[str, tuple[Request, IndexState]] = Bounded(KEPT, KEPT)

    def begin(self, request: Request) -> tuple[str, Request]:
        """A name for the stream of an answer, and the request with which it can be repeated."""
        if not is_repeatable(request):
            request = replace(request, seed=secrets.randbelow(MAX_SEED))
        answer = secrets.token_hex(12)
        self._requests.put(answer, (request, self._index()), 1)
        return answer, request

    def find(self, last_event_id: str) -> tuple[str, Request, int]:
        """The name of a stream, its request, and the number of the event to go on after.

        Raises:
            AnswerGone: no such stream is kept, or the index has changed since it began.
        """
        answer, _, number = last_event_id.partition(".")
        request, index = self._requests.get(answer) or (None, ())
        is_number = number.isascii() and number.isdigit() and len(number) < 9
        if request is None or index != self._index() or not is_number:
            raise AnswerGone
        return answer, request, int(number)

    def clear(self) -> None:
        """Forget all, as when another index or model answers from now on."""
        self._requests.clear()
