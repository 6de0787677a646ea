from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, LlamaConfig, LlamaForCausalLM

from rag_rt.attention.routed_keys import Routing
from rag_rt.models.routed_attention import UnsupportedAttention, register_routed_attention
from rag_rt.models.starter import is_prepared, starter_generator
from rag_rt.settings import Settings

SMALL = Routing(budget=40, block=16, sinks=3, cluster=4)
PAD = 0


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    register_routed_attention()
    register_routed_attention("routed-small", SMALL)


def tiny(attention: str, dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        initializer_range=0.3,
        pad_token_id=PAD,
        eos_token_id=None,
        attention_dropout=dropout,
    )
    model = LlamaForCausalLM(config).double()
    model.set_attn_implementation(attention)
    return model


def text(seed: int, length: int) -> Tensor:
    return torch.randint(1, 97, (1, length), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def logits(model: Any, ids: Tensor, **others: Any) -> Tensor:
    out: Tensor = model(ids, **others).logits
    return out


def test_what_fits_the_budget_is_as_with_sdpa() -> None:
    ids = text(0, 300)
    torch.testing.assert_close(logits(tiny("routed"), ids), logits(tiny("sdpa"), ids))


def test_what_exceeds_the_budget_is_not() -> None:
    ids = text(0, 120)
    routed, dense = logits(tiny("routed-small"), ids), logits(tiny("sdpa"), ids)
    torch.testing.assert_close(routed[:, : SMALL.budget], dense[:, : SMALL.budget])
    assert not torch.allclose(routed[:, -1], dense[:, -1], atol=1e-3)


@given(st.integers(0, 99), st.integers(1, 120), st.integers(0, 119))
def test_a_suffix_changes_no_earlier_logit(seed: int, length: int, cut: int) -> None:
    model, ids = tiny("routed-small"), text(seed, length)
    cut = min(cut, length)
    other = torch.cat([ids[:, :cut], text(seed + 1, length - cut)], 1)
    torch.testing.assert_close(logits(model, ids)[:, :cut], logits(model, other)[:, :cut])


@given(st.lists(st.integers(2, 50), min_size=1, max_size=4))
def test_pieces_of_a_prompt_say_what_the_whole_says(pieces: list[int]) -> None:
    model, ids = tiny("routed-small"), text(0, sum(pieces))
    cache = DynamicCache(config=model.config)
    parts = [logits(model, piece, past_key_values=cache) for piece in torch.split(ids, pieces, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), logits(model, ids))


@given(st.lists(st.integers(1, 110), min_size=2, max_size=3), st.booleans())
def test_padding_changes_no_logit(lengths: list[int], left: bool) -> None:
    model, longest = tiny("routed-small"), max(lengths)
    ids = torch.full((len(lengths), longest), PAD)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        real = slice(longest - length, None) if left else slice(length)
        ids[row, real], mask[row, real] = text(row, length), 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    together = logits(model, ids, attention_mask=mask, position_ids=positions)
    for row, length in enumerate(lengths):
        alone = logits(model, text(row, length))[0]
        torch.testing.assert_close(together[row][mask[row].bool()], alone)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_generation_goes_on_densely_from_a_routed_prompt(cache: str) -> None:
    model, ids = tiny("routed-small"), text(0, 100)
    made = model.generate(
        ids, max_new_tokens=5, min_new_tokens=5, do_sample=False, cache_implementation=cache
    )
    state = DynamicCache(config=model.config)
    expected = logits(model, ids, past_key_values=state)[:, -1:].argmax(-1)
    model.set_attn_implementation("sdpa")
    for token in torch.split(made[:, 100:], 1, 1):
        assert torch.equal(token, expected)
        expected = logits(model, token, past_key_values=state).argmax(-1)


def test_padding_between_tokens_is_refused() -> None:
    mask = torch.tensor([[1, 1, 0, 1, 1]])
    with pytest.raises(UnsupportedAttention, match="padding between tokens"):
        logits(tiny("routed"), text(0, 5), attention_mask=mask)


def test_packed_sequences_are_refused() -> None:
    positions = torch.tensor([[0, 1, 2, 0, 1]])
    with pytest.raises(UnsupportedAttention, match="packed sequences"):
        logits(tiny("routed"), text(0, 5), position_ids=positions, use_cache=False)


def test_masks_of_four_dimensions_are_refused() -> None:
    mask = torch.ones(1, 1, 5, 5, dtype=torch.bool).tril()
    with pytest.raises(UnsupportedAttention, match="attention_mask \\(B, S\\)"):
        logits(tiny("routed"), text(0, 5), attention_mask=mask)


def test_dropout_is_refused() -> None:
    model = tiny("routed", dropout=0.1).train()
    with pytest.raises(UnsupportedAttention, match="dropout"):
        logits(model, text(0, 5))


def test_the_starter_model_reads_what_fits_as_with_sdpa(settings: Settings) -> None:
    models = settings.models_directory
    if not is_prepared(models):
        pytest.skip("needs the starter models; make setup prepares them")
    ids = torch.arange(1000, 1600).unsqueeze(0)
    folder: Path = starter_generator(models)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    dense = logits(model, ids, logits_to_keep=100)
    model.set_attn_implementation("routed")
    assert (logits(model, ids, logits_to_keep=100) - dense).abs().max() < 2e-3
