"""What `test_batching` claims, on real forward passes: their logits are exact to the last bit."""

from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from rag_rt.answers import FinishReason
from rag_rt.attention.routed_keys import Routing
from rag_rt.batching import Batch, Writing
from rag_rt.choosing import Chooser, Sampling
from rag_rt.models.routed_decoder import DecoderConfig, RoutedDecoder
from tests.tiny_models import randomize

END = 0
DENSE = "dense, int8"
ROUTED = "routed, float32"
Prompt = st.lists(st.integers(1, 6), min_size=1, max_size=40) | st.integers(1, 300).map(
    lambda length: [1 + n * n % 7 for n in range(length)]
)
Samplings = st.builds(
    Sampling,
    max_tokens=st.integers(1, 60),
    temperature=st.sampled_from([0.0, 0.7]),
    top_p=st.sampled_from([0.9, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.2]),
    no_repeat_ngram=st.sampled_from([0, 6]),
    bias=st.sampled_from([{}, {END: -9.0}]),
    seed=st.integers(0, 9),
)


@cache
def decoder(name: str) -> RoutedDecoder:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=48,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=END,
    )
    model = LlamaForCausalLM(config).train(False)
    randomize(model, std=0.3)
    sizes = DecoderConfig.of(config)
    assert sizes is not None
    if name == DENSE:
        return RoutedDecoder(model, sizes, "int8")
    # Blocks so small that drafts complete some and are taken back.
    routing = Routing(sinks=16, block=128, budget=160)
    return RoutedDecoder(model, sizes, "float32", routing)


def join(batch: Batch, prompt: list[int], sampling: Sampling, *, draft: bool = True) -> Writing:
    return batch.join(prompt, Chooser(sampling, [END]), sampling.max_tokens, draft=draft)


def finish(batch: Batch, writing: Writing) -> tuple[list[int], FinishReason]:
    while writing.finish_reason is None:
        batch.advance()
    return list(writing.tokens), writing.finish_reason


@pytest.mark.parametrize("name", [DENSE, ROUTED])
@given(
    prompt=Prompt,
    sampling=Samplings,
    others=st.lists(st.tuples(Prompt, Samplings), max_size=3),
)
def test_neither_drafts_nor_others_change_a_token(
    name: str, prompt: list[int], sampling: Sampling, others: list[tuple[list[int], Sampling]]
) -> None:
    alone, drafting, shared = (Batch(decoder(name)) for _ in range(3))
    plain = finish(alone, join(alone, prompt, sampling, draft=False))
    assert finish(drafting, join(drafting, prompt, sampling)) == plain
    for other in others:
        join(shared, *other)
    shared.advance()
    assert finish(shared, join(shared, prompt, sampling)) == plain


@pytest.mark.parametrize("name", [DENSE, ROUTED])
def test_some_drafts_are_taken_and_some_not(name: str) -> None:
    batch = Batch(decoder(name))
    sampling = Sampling(max_tokens=200, bias={END: -99.0})
    writing = join(batch, [1, 2, 3, 4] * 20, sampling)
    finish(batch, writing)
    assert 5 < writing.accepted < writing.drafted - 5


@given(Prompt, st.sampled_from([DENSE, ROUTED]), st.data())
def test_a_greedy_answer_that_was_cut_back_comes_again(
    prompt: list[int], name: str, data: st.DataObject
) -> None:
    batch = Batch(decoder(name))
    writing = join(batch, prompt, Sampling(max_tokens=80, bias={END: -9.0}))
    first = finish(batch, writing)
    writing.rewind(data.draw(st.integers(0, len(first[0]))))
    assert finish(batch, writing) == first
