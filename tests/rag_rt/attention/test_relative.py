import torch
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.attention.relative import (
    by_distance,
    by_key,
    distance_rows,
    relative_logits,
)

sizes = st.integers(1, 7)


def index(queries: int, keys: int, farthest: int) -> torch.Tensor:
    """The row of each query and key by tensor2tensor's rule: the queries are the last keys."""
    positions = torch.arange(keys)
    distance = positions[None] - positions[keys - queries :, None]
    return distance.clamp(-farthest, farthest) + farthest


@given(sizes, sizes, sizes)
def test_logits_are_products_with_the_row_of_each_distance(
    queries: int, more: int, farthest: int
) -> None:
    keys = queries + more - 1
    q, table = torch.randn(2, 3, queries, 4), torch.randn(2 * farthest + 1, 4)
    rows = table[index(queries, keys, farthest)]  # (Q, K, D)
    expected = torch.einsum("bhid,ijd->bhij", q, rows)
    torch.testing.assert_close(
        relative_logits(q, distance_rows(table, queries, keys), keys), expected
    )


@given(sizes, sizes, sizes)
def test_values_are_sums_of_the_rows_of_all_distances(
    queries: int, more: int, farthest: int
) -> None:
    keys = queries + more - 1
    weights, table = torch.randn(2, 3, queries, keys), torch.randn(2 * farthest + 1, 4)
    rows = table[index(queries, keys, farthest)]
    expected = torch.einsum("bhij,ijd->bhid", weights, rows)
    torch.testing.assert_close(by_distance(weights) @ distance_rows(table, queries, keys), expected)


@given(sizes, sizes)
def test_columns_by_distance_and_by_key_hold_the_same(queries: int, keys: int) -> None:
    x = torch.randn(2, queries, keys)
    assert torch.equal(by_key(by_distance(x), keys), x)


def test_gradients_pass_both_ways() -> None:
    q = torch.randn(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    table = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)

    def function(q: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        rows = distance_rows(table, 3, 5)
        return by_distance(relative_logits(q, rows, 5)) @ rows

    assert torch.autograd.gradcheck(function, (q, table))
