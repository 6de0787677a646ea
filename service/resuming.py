"""Streams that a client may go on with after a lost connection.

Every event has an id, `ANSWER.NUMBER`. What is kept of an answer is its request alone: the same
request gives the same events again, from the cache or by writing them anew, and those that the
client has are left out. A request that samples without a seed is given one.
"""

import secrets
from dataclasses import replace

from rag_rt.requests import MAX_SEED, Request
from service.caching import Bounded, is_repeatable
from service.errors import AnswerGone

KEPT = 1024  # answers; of some 2 kB each where questions are of the longest


class Kept:
    """The requests of the latest streams."""

    def __init__(self) -> None:
        self._requests: Bounded[str, Request] = Bounded(KEPT, KEPT)

    def begin(self, request: Request) -> tuple[str, Request]:
        """A name for the stream of an answer, and the request with which it can be repeated."""
        if not is_repeatable(request):
            request = replace(request, seed=secrets.randbelow(MAX_SEED))
        answer = secrets.token_hex(12)
        self._requests.put(answer, request, 1)
        return answer, request

    def find(self, last_event_id: str) -> tuple[str, Request, int]:
        """The name of a stream, its request, and the number of the event to go on after.

        Raises:
            AnswerGone: no such stream is kept.
        """
        answer, _, number = last_event_id.partition(".")
        request = self._requests.get(answer)
        if request is None or not (number.isascii() and number.isdigit() and len(number) < 9):
            raise AnswerGone
        return answer, request, int(number)

    def clear(self) -> None:
        """Forget all, as when another index or model answers from now on."""
        self._requests.clear()
