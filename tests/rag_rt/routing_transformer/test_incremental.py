"""Incremental decoding is causal, and does not depend on how a text is cut or batched.

Whether a position joins a cluster is a comparison, which a rounding error can decide where two
scores differ by less. Properties are therefore tested in float64; in float32 the last test counts
how often that happens.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from rag_rt.models.routing_transformer import InputError, RoutingTransformerForCausalLM
from rag_rt.models.routing_transformer.heads import RoutingHeads
from tests.rag_rt.routing_transformer.recorded import IN_TREE, Recorded

Find = Callable[[str], Recorded]
TOLERANCE = 1e-4
LENGTH = 90
few = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**16)


@pytest.fixture(scope="module")
def model() -> RoutingTransformerForCausalLM:
    """Blocks of 16, windows of 32, of 3 layers two that route; float64."""
    return Recorded(IN_TREE / "k1_decode_greedy_prefix").model().double()


def random_ids(seed: int, rows: int = 1, length: int = LENGTH) -> Tensor:
    return torch.randint(0, 97, (rows, length), generator=torch.Generator().manual_seed(seed))


def read(
    model: RoutingTransformerForCausalLM,
    ids: Tensor,
    pieces: Sequence[int],
    mask: Tensor | None = None,
) -> Tensor:
    """The logits of all tokens, read in pieces of the given lengths and then the rest."""
    cache, logits, start = None, [], 0
    for piece in [*pieces, ids.shape[1]]:
        stop = min(start + piece, ids.shape[1])
        if stop > start:
            seen = None if mask is None else mask[:, :stop]
            with torch.inference_mode():
                out = model(ids[:, start:stop], seen, past_key_values=cache, use_cache=True)
            cache, start = out.past_key_values, stop
            logits.append(out.logits)
    return torch.cat(logits, 1)


def generated(model: RoutingTransformerForCausalLM, ids: Tensor, **options: Any) -> Tensor:
    transformers_model: Any = model  # generate() declares no types that a checker could follow
    found: Tensor = transformers_model.generate(ids, do_sample=False, eos_token_id=None, **options)
    return found


@few
@given(seeds, st.integers(1, LENGTH - 1), seeds)
def test_a_changed_suffix_never_changes_earlier_logits(
    model: RoutingTransformerForCausalLM, seed: int, kept: int, other: int
) -> None:
    ids, changed = random_ids(seed), random_ids(other)
    changed[:, :kept] = ids[:, :kept]
    difference = read(model, ids, [])[:, :kept] - read(model, changed, [])[:, :kept]
    assert difference.abs().max() < TOLERANCE


@few
@given(seeds, st.lists(st.integers(1, 40), max_size=12))
def test_any_chunking_gives_the_same_logits(
    model: RoutingTransformerForCausalLM, seed: int, pieces: list[int]
) -> None:
    ids = random_ids(seed, rows=2)
    difference = read(model, ids, pieces) - read(model, ids, [])
    assert difference.abs().max() < TOLERANCE


@few
@given(seeds)
def test_token_by_token_gives_the_same_logits(
    model: RoutingTransformerForCausalLM, seed: int
) -> None:
    ids = random_ids(seed, rows=2)
    difference = read(model, ids, [1] * LENGTH) - read(model, ids, [])
    assert difference.abs().max() < TOLERANCE


@few
@given(seeds, st.integers(0, 60), st.integers(0, 60), st.lists(st.integers(1, 30), max_size=8))
def test_a_batch_of_unequal_prompts_equals_single_runs(
    model: RoutingTransformerForCausalLM, seed: int, first: int, second: int, pieces: list[int]
) -> None:
    ids = random_ids(seed, rows=2)
    mask = torch.ones_like(ids)
    mask[0, :first] = mask[1, :second] = 0
    together = read(model, ids, pieces, mask)
    for row, padding in enumerate((first, second)):
        alone = read(model, ids[row : row + 1, padding:], [])
        difference = together[row, padding:] - alone[0]
        assert difference.abs().max() < TOLERANCE


def test_where_every_position_is_in_every_cluster_it_is_the_official_function(
    recorded: Find,
) -> None:
    """With windows as long as the text nothing is left to choose, so the two must agree."""
    model = recorded("k1_decode_greedy_prefix").model()
    length = model.config.max_target_length
    for module in model.modules():
        if isinstance(module, RoutingHeads):
            module.window = length
    ids = random_ids(7, rows=2, length=length)
    with torch.inference_mode():
        official = model.teacher_forced_logits(ids)
    found = read(model, ids[:, :-1], [20, 1, 1])
    assert (found - official[:, 1:]).abs().max() < TOLERANCE


def test_models_without_routing_decode_exactly(recorded: Find) -> None:
    fixture = recorded("a1_local_skip_all")
    found = read(fixture.model(), fixture.tensor("targets").long()[:, :-1], [50, 1, 1])
    assert (found - fixture.tensor("logits")[:, 1:]).abs().max() < TOLERANCE


@pytest.mark.parametrize("name", ["k1_decode_greedy_prefix", "t1_train_ema", "g1_wt103_style"])
def test_logits_stay_near_the_exact_ones(recorded: Find, name: str) -> None:
    """At most a seventh of the logits' spread: what `docs/routing-transformer.md` states."""
    model = recorded(name).model()
    ids = random_ids(3, rows=2, length=model.config.max_target_length - 1)
    with torch.inference_mode():
        causal = model(ids).logits
        model.config.decoding = "exact"
        exact = model(ids).logits
    assert (causal - exact).pow(2).mean().sqrt() < exact.std() / 7


def test_generate_continues_unequal_prompts_as_it_does_each(
    model: RoutingTransformerForCausalLM,
) -> None:
    ids = random_ids(11, rows=2, length=40)
    mask = torch.ones_like(ids)
    mask[0, :9] = 0
    together = generated(model, ids, attention_mask=mask, max_new_tokens=12)
    first = generated(model, ids[:1, 9:], max_new_tokens=12)
    second = generated(model, ids[1:], prefill_chunk_size=7, max_new_tokens=12)
    assert together[0, 40:].tolist() == first[0, 31:].tolist()
    assert together[1, 40:].tolist() == second[0, 40:].tolist()


def test_beam_search_keeps_each_beams_own_past(model: RoutingTransformerForCausalLM) -> None:
    ids = random_ids(12, length=20)
    cached = generated(model, ids, num_beams=3, max_new_tokens=8)
    uncached = generated(model, ids, use_cache=False, num_beams=3, max_new_tokens=8)
    assert cached.tolist() == uncached.tolist()


def test_rows_of_a_cache_can_be_reordered(model: RoutingTransformerForCausalLM) -> None:
    ids = random_ids(5, rows=2)
    rest = slice(60, LENGTH)
    with torch.inference_mode():
        cache = model(ids[:, :60], use_cache=True).past_key_values
        cache.reorder_cache(torch.tensor([1, 0]))
        swapped = model(ids.flip(0)[:, rest], past_key_values=cache).logits
    assert (swapped - read(model, ids, [])[:, rest].flip(0)).abs().max() < TOLERANCE


def test_the_memory_of_a_layer_does_not_grow_with_the_text(
    model: RoutingTransformerForCausalLM,
) -> None:
    """But for one score a position, cluster and head."""
    shapes = []
    for length in (20, 90):
        with torch.inference_mode():
            cache = model(random_ids(1, length=length), use_cache=True).past_key_values
        local, clusters = cache.local[2], cache.clusters[2]
        shapes.append((local.keys.shape, clusters.keys.shape))
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    "name", ["d1_no_share_qk", "e1_encdec_routing", "f1_strided", "f2_cluster_strided"]
)
def test_a_model_without_a_causal_counterpart_asks_for_exact_decoding(
    recorded: Find, name: str
) -> None:
    with pytest.raises(InputError, match="'exact'"):
        recorded(name).model()(torch.ones(1, 5, dtype=torch.long))


def test_ids_outside_the_vocabulary_are_refused(model: RoutingTransformerForCausalLM) -> None:
    with pytest.raises(InputError, match="from 0 to 96"):
        model(torch.tensor([[97]]))


def test_in_float32_rounding_decides_few_memberships(recorded: Find) -> None:
    model = recorded("k1_decode_greedy_prefix").model()
    changed = 0
    for seed in range(20):
        ids = random_ids(seed, rows=2)
        difference = read(model, ids, [7, 1, 30]) - read(model, ids, [])
        changed += int((difference.abs() > TOLERANCE).any())
    assert changed <= 1
