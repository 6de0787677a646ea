import torch
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.attention.causal_routing import admitted, earlier_and_no_worse
from rag_rt.attention.rings import extended, held, latest

lengths = st.integers(1, 40)


@given(st.integers(1, 400), st.integers(1, 50))
def test_ranks_count_earlier_scores_that_are_no_worse(length: int, values: int) -> None:
    scores = torch.randint(values, (2, 3, length)).float()  # few values: many ties
    no_worse = scores[..., None, :] >= scores[..., :, None]
    assert torch.equal(earlier_and_no_worse(scores), no_worse.tril(-1).sum(-1))


@given(lengths, st.integers(0, 39), st.integers(1, 8))
def test_admission_does_not_depend_on_how_positions_arrive(
    length: int, cut: int, window: int
) -> None:
    scores = torch.randint(9, (2, 2, 3, length)).float()
    position = torch.arange(length).expand(2, -1)
    whole = admitted(scores, scores[..., :0], position, window, 40)
    cut = min(cut, length - 1)
    rest = admitted(scores[..., cut:], scores[..., :cut], position[:, cut:], window, 40)
    assert torch.equal(whole[..., cut:], rest)
    last = admitted(scores[..., -1:], scores[..., :-1], position[:, -1:], window, 40)
    assert torch.equal(whole[..., -1:], last)


def test_the_first_position_joins_every_cluster() -> None:
    scores = torch.randn(1, 2, 3, 1)
    position = torch.zeros(1, 1, dtype=torch.long)
    assert admitted(scores, scores[..., :0], position, 1, 1000).all()


@given(lengths)
def test_clusters_of_the_whole_text_admit_every_position(length: int) -> None:
    scores = torch.randn(1, 2, 3, length)
    position = torch.arange(length).expand(1, -1)
    assert admitted(scores, scores[..., :0], position, 40, 40).all()


def test_clusters_admit_about_their_share() -> None:
    scores = torch.randn(1, 2, 4, 2000)
    position = torch.arange(2000).expand(1, -1)
    share = admitted(scores, scores[..., :0], position, 250, 2000).float().mean()
    assert 0.11 < share < 0.14  # 250 of 2,000


@given(st.integers(1, 6), st.lists(st.integers(0, 9), max_size=6))
def test_a_ring_holds_the_latest_entries_however_they_arrive(slots: int, added: list[int]) -> None:
    ring, length = torch.zeros(1, slots, 1), torch.zeros(1, dtype=torch.long)
    entries = torch.arange(1.0, sum(added) + 1)
    for count in added:
        new = torch.zeros(1, 9, 1)
        new[0, :count, 0] = entries[int(length) : int(length) + count]
        ring = extended(ring, new, length, torch.tensor([count]))
        length += count
    expected = torch.cat([torch.zeros(slots), entries])[-slots:]
    assert latest(ring, length)[0, :, 0].tolist() == expected.tolist()
    numbers = held(length, slots)[0]
    assert sorted(numbers.tolist()) == list(range(int(length) - slots, int(length)))
