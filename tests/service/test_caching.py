"""What is kept, and what is forgotten."""

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from rag_rt.events import Event, Retrieved, Wrote
from rag_rt.requests import Request
from service.caching import AnswerCache, Bounded
from tests.service.scripted_worker import HIT, Scripted

USES = st.tuples(st.sampled_from(["get", "put"]), st.integers(0, 4), st.integers(1, 5))


@given(st.integers(0, 4), st.integers(0, 15), st.lists(USES, min_size=10, max_size=40))
def test_what_was_used_last_is_kept_within_number_and_size(
    most: int, most_bytes: int, uses: list[tuple[str, int, int]]
) -> None:
    kept: Bounded[int, int] = Bounded(most, most_bytes)
    model: OrderedDict[int, int] = OrderedDict()  # all that was put, the last used at the end
    for use, key, size in uses:
        if use == "put":
            model.pop(key, None)
            kept.put(key, size, size)
            if size <= most_bytes:
                model[key] = size
            while len(model) > most or sum(model.values()) > most_bytes:
                model.popitem(last=False)
        else:
            assert kept.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
        assert kept.size == sum(model.values()) <= most_bytes
        assert len(kept) == len(model) <= most


def test_events_come_back_as_they_were() -> None:
    cache = AnswerCache(4, 1e6)
    request = Request("steps=3 words")
    events: list[Event] = [event for event in Scripted().turns(request) if event is not None]
    assert isinstance(events[0], Retrieved)
    assert events[1:2] == [Wrote("0:None ")]
    cache.put(request, events)
    assert cache.get(request) == events
    assert cache.get(Request("steps=3 words", seed=1)) is None
    assert HIT in events[0].hits


def test_what_is_drawn_anew_each_time_is_not_kept() -> None:
    cache = AnswerCache(4, 1e6)
    for request, kept in (
        (Request("a", temperature=1), False),
        (Request("a", temperature=1, seed=3), True),
        (Request("a"), True),
    ):
        cache.put(request, [Wrote("text")])
        assert (cache.get(request) is not None) == kept
