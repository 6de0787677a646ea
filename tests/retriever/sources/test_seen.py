import random
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from retriever.sources import seen
from retriever.sources.seen import SeenIds


@given(st.lists(st.text(max_size=2)), st.integers(1, 5))
def test_an_id_is_new_once(ids: list[str], recent: int) -> None:
    before = seen._RECENT
    seen._RECENT = recent
    try:
        known = SeenIds()
        assert [known.add(i) for i in ids] == [i not in ids[:n] for n, i in enumerate(ids)]
    finally:
        seen._RECENT = before


def test_an_id_costs_8_bytes() -> None:
    known, order = SeenIds(), random.Random(1)
    tracemalloc.start()
    assert all(known.add(str(order.getrandbits(80))) for _ in range(1 << 15))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < (1 << 15) * 8 + (1 << 19)
