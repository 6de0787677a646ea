"""Finished answers, kept for the next identical request."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from pydantic_core import from_json, to_json

from rag_rt.events import Event
from rag_rt.requests import Request
from retriever.index_files import IndexState
from service.events import name_of, parsed

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """A mapping that forgets what was least recently used, by number and by size."""

    def __init__(self, most: int, most_bytes: float) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.size = 0
        """Bytes of all that is kept."""

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K) -> V | None:
        """What is kept under a key, which counts as a use."""
        if key not in self._items:
            return None
        self._items.move_to_end(key)
        return self._items[key][0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value; one that alone is too large is not kept."""
        self._forget(key)
        if size > self._most_bytes:
            return
        self._items[key] = value, size
        self.size += size
        while len(self._items) > self._most or self.size > self._most_bytes:
            self._forget(next(iter(self._items)))

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()
        self.size = 0

    def _forget(self, key: K) -> None:
        if key in self._items:
            self.size -= self._items.pop(key)[1]


class AnswerCache:
    """The events of finished answers, for requests whose answer is always the same.

    They are kept as JSON, which is a few times smaller than the objects.
    """

    def __init__(self, most: int, most_bytes: float) -> None:
        self._answers: Bounded[tuple[Request, IndexState], list[tuple[str, bytes]]] = Bounded(
            most, most_bytes
        )

    def get(self, request: Request, index: IndexState = ()) -> list[Event] | None:
        """The events of the answer to an identical request, if they are kept.

        Args:
            request: what is asked.
            index: the state of the index that it is asked of.
        """
        kept = self._answers.get((request, index)) if is_repeatable(request) else None
        return None if kept is None else [parsed(name, from_json(data)) for name, data in kept]

    def put(self, request: Request, events: Sequence[Event], index: IndexState = ()) -> None:
        """Keep the events of an answer, the last of them `Finished`."""
        if is_repeatable(request):
            told = [(name_of(event), to_json(event)) for event in events]
            self._answers.put((request, index), told, sum(len(data) for _, data in told))

    def clear(self) -> None:
        """Forget everything, as when another index or model answers from now on."""
        self._answers.clear()


def is_repeatable(request: Request) -> bool:
    """Whether the same request gives the same answer again: greedy, or with a seed."""
    return request.temperature == 0 or request.seed is not None
