"""Our forward pass of BERT against transformers' own, on tiny models of every kind."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertModel,
    DPRConfig,
    DPRQuestionEncoder,
    RobertaConfig,
    RobertaModel,
)

from retriever.bert import PackedBert, is_packable
from retriever.loading import Precision
from retriever.text_model import BATCH_TOKENS, WINDOW, TextModel, Vectors, mean
from tests.tiny_models import bert_tokenizer, randomize, small_bert

MAX_TOKENS = 40
KINDS = ("gelu", "gelu_new", "relu", "dpr", "roberta", "silu")
LETTERS = "aeinorst?.:é海 "
texts = st.lists(st.text(LETTERS, max_size=60), min_size=1, max_size=30)


@cache
def tiny(kind: str) -> Any:
    """A BERT of a kind, in float32; of a shape that no tile fits."""
    sizes = {**small_bert(len(bert_tokenizer())), "hidden_size": 24, "intermediate_size": 40}
    sizes |= {"num_attention_heads": 3, "max_position_embeddings": MAX_TOKENS + 2}
    if kind == "dpr":
        model: Any = DPRQuestionEncoder(DPRConfig(**sizes)).question_encoder.bert_model
    elif kind == "roberta":
        model = RobertaModel(RobertaConfig(**sizes, pad_token_id=0))
    else:
        model = BertModel(BertConfig(**sizes, hidden_act=kind))
    randomize(model, std=0.2)
    return model.eval()


@cache
def text_model(kind: str, precision: Precision = "float32") -> TextModel:
    model = tiny(kind)
    if precision == "bfloat16":
        model = type(model)(model.config).eval()
        model.load_state_dict(tiny(kind).state_dict())
        model = model.to(torch.bfloat16)
    return TextModel(model, bert_tokenizer(), MAX_TOKENS)


def encode(model: TextModel, some: Sequence[str]) -> Vectors:
    return model.encode((some,), mean, 24)


def plainly(kind: str, some: Sequence[str]) -> Vectors:
    """By transformers, one text at a time, in float32."""
    tokenizer = bert_tokenizer()
    vectors = []
    for text in some:
        inputs = tokenizer(text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        inputs.pop("token_type_ids")
        with torch.inference_mode():
            vectors.append(tiny(kind)(**inputs).last_hidden_state[0].mean(0).numpy())
    return np.stack(vectors)


def test_what_is_packed() -> None:
    assert [kind for kind in KINDS if is_packable(tiny(kind))] == [
        "gelu",
        "gelu_new",
        "relu",
        "dpr",
    ]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(texts)
def test_vectors_are_those_of_transformers_whatever_shares_the_batch(
    kind: str, some: list[str]
) -> None:
    np.testing.assert_allclose(encode(text_model(kind), some), plainly(kind, some), atol=2e-5)


@pytest.mark.parametrize("kind", ["gelu", "gelu_new"])
@settings(max_examples=20)
@given(texts)
def test_bfloat16_keeps_the_direction(kind: str, some: list[str]) -> None:
    a, b = encode(text_model(kind, "bfloat16"), some), plainly(kind, some)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() > 0.999


@given(texts, st.randoms())
def test_the_order_of_texts_does_not_matter(some: list[str], order: Any) -> None:
    rows = list(range(len(some)))
    order.shuffle(rows)
    model = text_model("gelu")
    shuffled = encode(model, [some[row] for row in rows])
    np.testing.assert_allclose(shuffled, encode(model, some)[rows], atol=1e-5)


@given(texts)
def test_equal_texts_in_equal_order_give_equal_bytes(some: list[str]) -> None:
    model = text_model("gelu", "bfloat16")
    assert encode(model, some).tobytes() == encode(model, some).tobytes()


def test_every_text_is_in_one_batch_of_its_length() -> None:
    some = ["a " * (number % 50) for number in range(WINDOW + 500)]
    batches = list(text_model("gelu").batches((some,)))
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(some)))
    for batch in batches:
        assert batch.ids.numel() <= BATCH_TOKENS
        assert batch.ids.shape[1] <= MAX_TOKENS
        assert batch.kept.sum(1).min() > batch.ids.shape[1] - 16
    sizes = {len(batch.rows) for batch in batches}
    full = {BATCH_TOKENS // tokens for tokens in (16, 32, MAX_TOKENS)}
    assert sizes <= full | {1 << n for n in range(9)}  # few shapes: kernels are kept for each


def test_a_long_text_is_cut_where_the_model_ends() -> None:
    model = text_model("gelu")
    long = "rest " * 1000
    np.testing.assert_array_equal(encode(model, [long]), encode(model, [long * 2]))


def test_all_states_are_those_of_transformers() -> None:
    model = tiny("gelu")
    ids = torch.randint(5, 20, (3, 16))
    kept = torch.arange(16) < torch.tensor([[16], [9], [1]])
    types = (torch.arange(16) > 4).long().expand(3, 16)
    with torch.inference_mode():
        ours = list(PackedBert(model).states(ids, kept, types))
        theirs = model(
            input_ids=ids, attention_mask=kept.long(), token_type_ids=types,
            output_hidden_states=True,
        ).hidden_states  # fmt: skip
    assert len(ours) == len(theirs) == 3
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a[kept], b[kept], atol=2e-5, rtol=0)


def test_no_texts_have_no_vectors() -> None:
    assert encode(text_model("gelu"), []).shape == (0, 24)


def test_progress_is_told_after_each_batch() -> None:
    seen: list[tuple[int, int]] = []
    model = text_model("gelu")
    some = ["a", "a " * 20, "e"]
    model.encode((some,), mean, 24, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (3, 3)]
