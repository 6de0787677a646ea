"""`exact` decoding with its cache is the official function, whatever was computed before.

In float64, as membership of a window is a comparison (see `test_incremental`).
"""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from rag_rt.models.routing_transformer import RoutingTransformerForCausalLM
from rag_rt.models.routing_transformer.exact import ExactCache
from rag_rt.models.routing_transformer.layers import FeedForward
from tests.rag_rt.routing_transformer.recorded import IN_TREE, Recorded

Find = Callable[[str], Recorded]
TOLERANCE = 1e-8
few = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
CAUSAL = ["k1_decode_greedy_prefix", "a1_local_skip_all", "g1_wt103_style"]


@pytest.fixture(params=CAUSAL)
def model(request: pytest.FixtureRequest, recorded: Find) -> RoutingTransformerForCausalLM:
    model = recorded(request.param).model().double()
    model.config.decoding = "exact"
    return model


def difference(
    model: RoutingTransformerForCausalLM, ids: Tensor, mask: Tensor, cache: ExactCache
) -> float:
    """Between the logits of the last token with a cache and without."""
    with torch.inference_mode():
        found = model(ids, mask, past_key_values=cache, logits_to_keep=1).logits
        expected = model(ids, mask, logits_to_keep=1).logits
    return float((found - expected).abs().max())


@few
@given(st.data())
def test_any_text_after_any_other_has_the_official_logits(
    model: RoutingTransformerForCausalLM, data: st.DataObject
) -> None:
    cache = ExactCache(model.config)
    longest = model.config.max_target_length - 1
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**16)))
    text = torch.randint(0, 97, (2, longest), generator=generator)
    padding = data.draw(st.integers(0, 40))
    for _ in range(4):
        changed = data.draw(st.integers(0, longest))
        text = text.clone()
        text[:, changed:] = torch.randint(0, 97, (2, longest - changed), generator=generator)
        length = data.draw(st.integers(41, longest))
        mask = torch.ones(2, length, dtype=torch.long)
        mask[0, :padding] = 0
        assert difference(model, text[:, :length], mask, cache) < TOLERANCE


def test_generate_writes_the_same_with_the_cache_and_without(
    model: RoutingTransformerForCausalLM,
) -> None:
    transformers_model: Any = model
    ids = torch.randint(0, 97, (2, 30))
    options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    cached = transformers_model.generate(ids, **options)
    assert cached.tolist() == transformers_model.generate(ids, use_cache=False, **options).tolist()
    beams = transformers_model.generate(ids, num_beams=3, **options)
    uncached = transformers_model.generate(ids, num_beams=3, use_cache=False, **options)
    assert beams.tolist() == uncached.tolist()


def test_layers_before_a_change_are_not_computed_again() -> None:
    """Of 96 positions, those from the changed block on, and of the last layer one."""
    model = Recorded(IN_TREE / "k1_decode_greedy_prefix").model()
    model.config.decoding = "exact"
    cache = ExactCache(model.config)
    ids = torch.randint(0, 97, (1, 70))
    rows: list[int] = []
    forward = FeedForward.forward

    def counted(self: FeedForward, x: Tensor) -> Tensor:
        rows.append(x.shape[1])
        return forward(self, x)

    with torch.inference_mode(), patch.object(FeedForward, "forward", counted):
        model(ids[:, :-1], past_key_values=cache, logits_to_keep=1)
        assert rows == [96, 96, 1]
        rows.clear()
        model(ids, past_key_values=cache, logits_to_keep=1)
    assert rows[0] == 32
    assert rows[1] <= 96
    assert rows[2] == 1


@pytest.mark.parametrize("name", ["d1_no_share_qk", "f1_strided"])
def test_models_in_which_later_values_reach_earlier_positions_keep_nothing(
    recorded: Find, name: str
) -> None:
    model: Any = recorded(name).model()
    model.config.decoding = "exact"
    ids = torch.randint(1, 97, (1, 20))
    found = model.generate(
        ids, max_new_tokens=3, do_sample=False, eos_token_id=None, return_dict_in_generate=True
    )
    assert found.past_key_values is None
    with torch.inference_mode():
        assert int(model(found.sequences[:, :-1]).logits[0, -1].argmax()) == int(
            found.sequences[0, -1]
        )
