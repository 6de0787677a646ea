from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from rag_rt.errors import GeneratorError
from rag_rt.models.decoding import Decoder
from rag_rt.models.transformers_decoder import CachedRow, TransformersDecoder
from tests.tiny_models import randomize

V = 11
SIZES: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}


def models() -> dict[str, PreTrainedModel]:
    torch.manual_seed(0)
    made: dict[str, PreTrainedModel] = {
        "all keys": LlamaForCausalLM(LlamaConfig(**SIZES)),
        "a window": MistralForCausalLM(MistralConfig(sliding_window=4, **SIZES)),
        "both": Gemma3ForCausalLM(
            Gemma3TextConfig(
                sliding_window=4, layer_types=["sliding_attention", "full_attention"], **SIZES
            )
        ),
    }
    for model in made.values():
        randomize(model.train(False))
    return made


MODELS = models()
Ids = st.lists(st.integers(0, V - 1), min_size=1, max_size=6)


@given(
    st.sampled_from(sorted(MODELS)),
    st.lists(st.tuples(st.sampled_from(["read", "step", "truncate"]), Ids), max_size=8),
)
def test_logits_are_those_of_the_whole_text_however_it_was_written(
    name: str, actions: list[tuple[str, list[int]]]
) -> None:
    model = MODELS[name]
    decoder = TransformersDecoder(model)
    row = decoder.open_row(64)
    held: list[int] = []
    for action, ids in actions:
        if action == "truncate":
            held = held[: max(0, len(held) - len(ids))]
            row.truncate(len(held))
        else:
            held += ids
            logits = (
                decoder.read(row, ids)[None] if action == "read" else decoder.step([(row, ids)])[0]
            )
            expected = model(torch.tensor([held])).logits[0, -len(logits) :]
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
        assert row.length == len(held)


def test_rows_of_one_step_do_not_touch_each_other() -> None:
    decoder = TransformersDecoder(MODELS["all keys"])
    rows = [decoder.open_row(8) for _ in range(3)]
    texts = [[1, 2, 3], [4], [5, 6]]
    together = decoder.step(list(zip(rows, texts, strict=True)))
    alone = [decoder.step([(decoder.open_row(8), ids)])[0] for ids in texts]
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))


def test_a_model_whose_state_cannot_be_cut_back_is_an_error() -> None:
    config = Qwen3NextConfig(layer_types=["linear_attention", "full_attention"], **SIZES)
    with pytest.raises(GeneratorError, match=r"qwen3_next.*taken back.*LinearAttentionLayer"):
        TransformersDecoder(Qwen3NextForCausalLM(config))


def test_it_is_a_decoder() -> None:
    decoder: Decoder[CachedRow] = TransformersDecoder(MODELS["all keys"])
    assert (decoder.vocabulary, decoder.context, decoder.exact) == (V, 64, False)
