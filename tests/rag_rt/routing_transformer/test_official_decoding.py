"""Decoding with `exact` is the official program's, token by token."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rag_rt.models.routing_transformer import InputError
from rag_rt.models.routing_transformer.sampling import (
    OfficialNucleus,
    OfficialTopK,
    official_sampling,
)
from tests.rag_rt.routing_transformer.recorded import IN_TREE, Recorded

Find = Callable[[str], Recorded]
NO_IDS = torch.LongTensor()


def test_greedy_decoding_gives_the_official_ids_by_the_official_logits(recorded: Find) -> None:
    fixture = recorded("k1_decode_greedy_prefix")
    model: Any = fixture.model()
    model.config.decoding = "exact"
    found = model.generate(
        fixture.tensor("prefix").long(),
        max_new_tokens=48,
        do_sample=False,
        eos_token_id=None,
        output_logits=True,
        return_dict_in_generate=True,
    )
    assert found.sequences[0].tolist() == fixture.arrays["outputs"].tolist()
    difference = torch.cat(found.logits) - fixture.tensor("step_logits")
    assert difference.abs().max() < 1e-5


def test_a_mask_that_is_given_is_kept(recorded: Find) -> None:
    model: Any = recorded("k1_decode_greedy_prefix").model()
    ids = torch.arange(1, 21)[None]
    padded = torch.nn.functional.pad(ids, (9, 0), value=3)
    mask = torch.nn.functional.pad(torch.ones_like(ids), (9, 0))
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    found = model.generate(padded, attention_mask=mask, **options)
    assert found[0, 29:].tolist() == model.generate(ids, **options)[0, 20:].tolist()


def test_logits_of_each_step_are_those_of_the_zero_filled_sequence(recorded: Find) -> None:
    fixture = recorded("k1_decode_greedy_prefix")
    model = fixture.model()
    model.config.decoding = "exact"
    outputs = fixture.tensor("outputs").long()
    for step in (0, 1, 24, 47):
        with torch.inference_mode():
            logits = model(outputs[None, : 48 + step], logits_to_keep=1).logits
        assert (logits[0, 0] - fixture.tensor("step_logits")[step]).abs().max() < 1e-5


@pytest.mark.parametrize("p", [1e-9, 0.3, 0.6, 0.9, 0.95, 0.999])
def test_the_nucleus_keeps_what_the_official_filter_keeps(p: float) -> None:
    golden = np.load(IN_TREE / "nucleus_golden.npz")
    filtered = OfficialNucleus(p)(NO_IDS, torch.from_numpy(golden["logits"]))
    assert np.array_equal(filtered.numpy(), golden[f"filtered_p={p}"])


def test_the_likeliest_token_and_of_equals_the_lower_id_stay() -> None:
    filtered = OfficialNucleus(1e-9)(NO_IDS, torch.tensor([[0.0, 2.0, 2.0, 1.0]]))
    assert (filtered[0] > -1e30).tolist() == [False, True, False, False]


def test_top_k_keeps_one_less_than_it_says_as_the_official_program_does() -> None:
    filtered = OfficialTopK(3)(NO_IDS, torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    assert (filtered[0] > -1e30).tolist() == [True, True, False, False]


def test_temperature_acts_after_the_nucleus() -> None:
    logits = torch.tensor([[3.0, 2.0, -9.0]])
    chosen = official_sampling(nucleus=0.9, temperature=100.0)(NO_IDS, logits)
    assert chosen[0, :2].tolist() == pytest.approx([0.03, 0.02])
    assert chosen[0, 2] < -1e30


def test_top_k_beside_a_nucleus_is_refused() -> None:
    with pytest.raises(InputError, match="sampling_keep_top_k"):
        official_sampling(nucleus=0.9, top_k=40)
