"""Attention in slabs is the formula, and so are its gradients, however it is cut."""

from unittest.mock import patch

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rag_rt.attention import dense
from rag_rt.attention.dense import HIDDEN, attend, later_keys
from rag_rt.attention.relative import RelativeTables

sizes = st.integers(1, 6)


def formula(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    unseen: Tensor | None,
    pattern: Tensor | None,
    tables: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """Σ_j softmax_j(q_i·k_j + q_i·r_ij) (v_j + s_ij), with a row r_ij and s_ij for each pair."""
    queries, keys = q.shape[-2], k.shape[-2]
    logits = torch.einsum("bhnid,bhnjd->bhnij", q, k)
    rows = None
    if tables is not None:
        farthest = tables[0].shape[0] // 2
        distance = torch.arange(keys) - torch.arange(keys - queries, keys).unsqueeze(-1)
        rows = distance.clamp(-farthest, farthest) + farthest
        logits = logits + torch.einsum("bhnid,ijd->bhnij", q, tables[0][rows])
    hidden = torch.zeros(logits.shape, dtype=torch.bool)
    if unseen is not None:
        hidden |= unseen.unsqueeze(-2)
    if pattern is not None:
        hidden |= pattern
    weights = (logits + HIDDEN * hidden).softmax(-1)
    out = torch.einsum("bhnij,bhnjd->bhnid", weights, v)
    if tables is not None:
        out = out + torch.einsum("bhnij,ijd->bhnid", weights, tables[1][rows])
    return out


def draw_pattern(data: st.DataObject, queries: int, keys: int) -> Tensor | None:
    later = later_keys(queries, keys, torch.device("cpu"))
    window = data.draw(st.integers(1, keys))
    near = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries - window)
    random = torch.rand(queries, keys) < 0.5
    patterns = [None, later, later | near, random]
    return data.draw(st.sampled_from(patterns))


@given(sizes, sizes, st.integers(0, 5), st.integers(1, 4), st.data())
def test_slabs_compute_the_formula_and_its_gradients(
    groups: int, queries: int, more: int, farthest: int, data: st.DataObject
) -> None:
    keys = queries + more
    torch.manual_seed(data.draw(st.integers(0, 2**16)))
    parts = [
        torch.randn(2, 3, groups, length, 4, dtype=torch.float64, requires_grad=True)
        for length in (queries, keys, keys)
    ]
    tables = None
    if data.draw(st.booleans()):
        tables = (torch.randn(2 * farthest + 1, 4), torch.randn(2 * farthest + 1, 4))
        parts += [table.double().requires_grad_() for table in tables]
    unseen = torch.rand(2, 3, groups, keys) < data.draw(st.sampled_from([0, 0.3, 1]))
    pattern = draw_pattern(data, queries, keys)

    relative = RelativeTables(parts[3], parts[4]) if tables else None
    with (
        patch.object(dense, "_SLAB_QUERIES", data.draw(sizes)),
        patch.object(dense, "_SLAB_BYTES", data.draw(st.integers(1, 2000))),
    ):
        found = attend(*parts[:3], unseen=unseen, pattern=pattern, relative=relative)
        direction = torch.randn_like(found)
        gradients = torch.autograd.grad(found, parts, direction)
    q, k, v = parts[:3]
    expected = formula(q, k, v, unseen, pattern, (parts[3], parts[4]) if tables else None)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, parts, direction))


def test_dropped_weights_are_the_same_in_the_backward_pass() -> None:
    """The output is linear in the values, so its gradient by them tells which were dropped."""
    v = torch.randn(1, 2, 3, 70, 70, dtype=torch.float64, requires_grad=True)
    q, k = (torch.zeros(1, 2, 3, 70, 4, dtype=torch.float64) for _ in range(2))
    out = attend(q, k, v, dropout=0.4)
    direction = torch.randn_like(out)
    (gradient,) = torch.autograd.grad(out, v, direction)
    torch.testing.assert_close((gradient * v).sum(), (direction * out).sum())


def test_dropout_keeps_the_mean_of_what_is_attended_to() -> None:
    torch.manual_seed(0)
    q, k = (torch.zeros(1, 1, 500, 8, 4) for _ in range(2))
    out = attend(q, k, torch.ones_like(k), dropout=0.25)
    assert abs(float(out.mean()) - 1) < 0.02
    assert out[..., 0].std() > 0
