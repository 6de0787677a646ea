import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from rag_rt.attention.centroids import on_sphere
from rag_rt.attention.routing import (
    COUNT_OFFSET,
    gathered,
    routed_attention,
    scattered,
    strided_windows,
    top_windows,
)

lengths = st.integers(4, 24)


def test_of_equal_scores_the_earlier_position_enters_the_window() -> None:
    scores = torch.tensor([[[[1.0, 2.0, 1.0, 2.0, 1.0]]]])
    assert top_windows(scores, 3).tolist() == [[[[0, 1, 3]]]]


@given(lengths, st.integers(1, 4))
def test_a_window_holds_the_best_positions_in_the_order_of_the_sequence(
    length: int, size: int
) -> None:
    scores = torch.randn(2, 2, 3, length)
    windows = top_windows(scores, size)
    assert (windows.diff(dim=-1) > 0).all()
    inside = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, windows, value=True)
    worst_inside = scores.masked_fill(~inside, torch.inf).amin(-1)
    best_outside = scores.masked_fill(inside, -torch.inf).amax(-1)
    assert (worst_inside >= best_outside).all()


def test_a_strided_window_spreads_over_all_ranks() -> None:
    scores = torch.tensor([[[[7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]]]])
    assert strided_windows(scores, 3).tolist() == [[[[0, 2, 4]]]]


@given(lengths, st.integers(1, 4), st.integers(1, 4))
def test_a_position_gets_the_sum_of_its_clusters_by_their_number(
    length: int, size: int, clusters: int
) -> None:
    windows = top_windows(torch.randn(2, 3, clusters, length), size)
    outputs = torch.randn(*windows.shape, 4)
    inside = torch.nn.functional.one_hot(windows, length).float()  # (B, H, C, W, L)
    total = torch.einsum("bhcwl,bhcwd->bhld", inside, outputs)
    count = inside.sum((2, 3)).unsqueeze(-1)
    expected = total / (count + COUNT_OFFSET)
    torch.testing.assert_close(scattered(outputs, windows, length), expected)


def test_a_position_in_no_cluster_gets_zero() -> None:
    windows = torch.tensor([[[[0, 2]]]])
    out = scattered(torch.ones(1, 1, 1, 2, 4), windows, 4)
    assert out[0, 0, :, 0].tolist() == pytest.approx([1 / 1.01, 0, 1 / 1.01, 0])


@given(lengths)
def test_one_cluster_of_everything_is_causal_attention(length: int) -> None:
    q = on_sphere(torch.randn(2, 3, length, 4))
    v = torch.randn(2, 3, length, 4)
    windows = torch.arange(length).expand(2, 3, 1, length)
    found = routed_attention(q, q, v, windows, windows, causal=True)
    expected = scaled_dot_product_attention(q, q, v, is_causal=True, scale=1.0)
    torch.testing.assert_close(found * (1 + COUNT_OFFSET), expected)


def test_gathering_reads_rows_of_the_own_head_and_batch() -> None:
    x = torch.arange(2 * 3 * 5 * 1.0).view(2, 3, 5, 1)
    windows = torch.tensor([1, 4]).expand(2, 3, 2, 2)
    assert torch.equal(gathered(x, windows)[:, :, 0, :, 0], x[:, :, [1, 4], 0])
