import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rag_rt.models.routing_transformer import (
    InputError,
    RoutingTransformerConfig,
    RoutingTransformerForCausalLM,
    RoutingTransformerTokenizer,
)
from rag_rt.models.routing_transformer.eli5 import eli5_answer, eli5_prompt
from tests.rag_rt.routing_transformer.recorded import Recorded
from tests.rag_rt.routing_transformer.test_tokenization import SUBTOKENS

Find = Callable[[str], Recorded]


@pytest.fixture
def tokenizer(tmp_path: Path) -> RoutingTransformerTokenizer:
    path = tmp_path / "vocabulary"
    path.write_text("".join(f"'{subtoken}'\n" for subtoken in SUBTOKENS))
    return RoutingTransformerTokenizer(str(path))


@pytest.fixture
def model() -> RoutingTransformerForCausalLM:
    torch.manual_seed(0)
    config = RoutingTransformerConfig(
        vocab_size=len(SUBTOKENS), hidden_size=32, embedding_dims=32, filter_size=8,
        num_decoder_layers=2, sparsity_skip_first=1, query_shape=32, memory_query_shape=32,
        memory_flange=32, sparsity_cluster_size=2, sparsity_cluster_attention_window=64,
        max_target_length=640, initializer_range=0.5,
    )  # fmt: skip
    model = RoutingTransformerForCausalLM(config)
    model.train(False)
    return model


def test_prompts_are_the_official_drivers(shared: Path) -> None:
    folder = shared / "golden" / "routing_transformer" / "tokenizer"
    published = RoutingTransformerTokenizer(str(folder / "vocab.pg19_length8k.32768.subwords"))
    golden = json.loads((folder / "driver_prefix_golden.json").read_bytes())
    assert golden["examples"]
    for example in golden["examples"]:
        prompt = eli5_prompt(published, example["question"], example["retrievals"])
        assert prompt == example["prefix"]
        assert len(prompt) == golden["num_prefix"]


def test_the_best_retrieval_stands_last_before_the_question(
    tokenizer: RoutingTransformerTokenizer,
) -> None:
    prompt = eli5_prompt(tokenizer, "the", ["hello", "he"])
    assert prompt[:2] == [*tokenizer.encode("he"), 0][:2]
    assert prompt[288] == tokenizer.encode("hello")[0]
    assert prompt[576] == tokenizer.encode("the")[0]


def test_an_answer_is_repeatable_by_its_seed(
    model: RoutingTransformerForCausalLM, tokenizer: RoutingTransformerTokenizer
) -> None:
    answers = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        answers.append(eli5_answer(model, tokenizer, "the hello", ["hello the"], room=20))
    assert answers[0] == answers[1] != answers[2]
    assert "<EOS>" not in answers[0]


def test_a_prompt_that_leaves_no_room_is_refused(
    model: RoutingTransformerForCausalLM, tokenizer: RoutingTransformerTokenizer
) -> None:
    with pytest.raises(InputError, match="fewer retrievals"):
        eli5_answer(model, tokenizer, "the", ["he", "he"])
