import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from rag_rt.attention.local import local_attention, strided_attention

blocks = st.integers(1, 4)


def heads(length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(2, 3, length, 4), torch.randn(2, 3, length, 4), torch.randn(2, 3, length, 4)


@given(blocks, blocks, st.integers(0, 3))
def test_a_query_sees_its_flange_and_its_block_up_to_itself(
    count: int, block: int, flanges: int
) -> None:
    q, k, v = heads(count * block)
    flange = flanges * block
    position = torch.arange(count * block)
    start = position // block * block - flange
    seen = (position[None] >= start[:, None]) & (position[None] <= position[:, None])
    expected = scaled_dot_product_attention(q, k, v, seen, scale=1.0)
    found = local_attention(
        q, k, v, query_block=block, memory_block=block, flange=flange, causal=True
    )
    torch.testing.assert_close(found, expected)


@given(blocks, blocks, st.integers(1, 3), st.data())
def test_without_causality_a_block_sees_both_flanges_but_no_padding(
    count: int, block: int, flanges: int, data: st.DataObject
) -> None:
    q, k, v = heads(count * block)
    flange = flanges * block
    position = torch.arange(count * block)
    start = position // block * block
    near = (position[None] >= start[:, None] - flange) & (
        position[None] < start[:, None] + block + flange
    )
    end = data.draw(st.integers(count * block - block + 1, count * block))
    padding = (position >= end).expand(2, -1)
    expected = scaled_dot_product_attention(q, k, v, near & ~padding[0], scale=1.0)
    found = local_attention(
        q, k, v,
        query_block=block, memory_block=block, flange=flange, causal=False, padding=padding,
    )  # fmt: skip
    visible = (near & ~padding[0]).any(-1)
    torch.testing.assert_close(found[:, :, visible], expected[:, :, visible])


def test_a_query_whose_keys_are_all_hidden_attends_to_them_all() -> None:
    q, k, v = heads(2)
    q = torch.zeros_like(q)
    padding = torch.ones(2, 2, dtype=torch.bool)
    found = local_attention(
        q, k, v, query_block=2, memory_block=2, flange=0, causal=False, padding=padding
    )
    torch.testing.assert_close(found, v.mean(2, keepdim=True).expand_as(v))


@given(blocks, blocks)
def test_strided_heads_see_the_same_offset_of_earlier_blocks(count: int, block: int) -> None:
    q, k, v = heads(count * block)
    position = torch.arange(count * block)
    distance = position[:, None] - position[None]
    seen = (distance >= 0) & (distance % block == 0)
    expected = scaled_dot_product_attention(q, k, v, seen, scale=1.0)
    torch.testing.assert_close(strided_attention(q, k, v, query_block=block), expected)
