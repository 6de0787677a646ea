import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from retriever.contrastive import Stepper, contrastive_loss, make_batch, shares
from retriever.trainable import TrainableEncoder
from retriever.training_data import Example, Text
from tests.retriever.training_setup import make_sentence_encoder

EXAMPLES = [
    Example("salt?", (Text("Ocean", "ocean is salty"),), (Text("", "gold"), Text("", "metal"))),
    Example("gold?", (Text("Gold", "a metal"), Text("Gold", "gold is a metal"))),
    Example("cells?", (Text("Cell", "units of life"),), (Text("Ocean", "ocean is salty"),)),
    Example("cells?", (Text("Life", "cells carry life"),)),
]


@given(st.integers(0, 2**31), st.integers(0, 3))
def test_a_batch_holds_each_questions_own_text_and_ignores_other_right_ones(
    seed: int, negatives: int
) -> None:
    batch = make_batch(EXAMPLES, negatives, np.random.default_rng(seed))
    assert batch.questions == [example.question for example in EXAMPLES]
    count = sum(min(negatives, len(example.negatives)) for example in EXAMPLES)
    assert len(batch.texts) == len(EXAMPLES) + count
    right = {"cells?": {"units of life", "cells carry life"}}
    for row, example in enumerate(EXAMPLES):
        assert batch.texts[row] in example.positives
        answers = right.get(example.question, {text.text for text in example.positives})
        for column, text in enumerate(batch.texts):
            assert batch.ignored[row, column] == (column != row and text.text in answers)


def test_the_loss_is_the_mean_surprise_at_the_own_text() -> None:
    questions = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    texts = torch.tensor([[1.0, 0.0], [0.5, 0.5], [1.0, 1.0]])
    ignored = torch.tensor([[False, True, False], [False, False, False]])
    e = math.exp
    first = -math.log(e(2) / (e(2) + e(2)))  # products over the temperature: 2, (1), 2
    second = -math.log(e(1) / (e(0) + e(1) + e(2)))
    loss = contrastive_loss(questions, texts, ignored, 0.5)
    assert float(loss) == pytest.approx((first + second) / 2, rel=1e-6)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 9))
def test_processes_share_all_rows_equally(lengths: list[int], processes: int) -> None:
    dealt = shares(lengths, processes)
    assert len(dealt) == processes
    assert {len(rows) for rows in dealt} == {-(-len(lengths) // processes)}
    assert {row for rows in dealt for row in rows} == set(range(len(lengths)))
    assert all(lengths[a] <= lengths[b] for rows in dealt for a, b in pairwise(rows[:-1]))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TrainableEncoder:
    folder = tmp_path_factory.mktemp("encoder")
    return TrainableEncoder(make_sentence_encoder(folder), max_tokens=32)


@pytest.mark.parametrize("part", [1, 2, 3, 100])
def test_gradients_do_not_depend_on_the_parts(encoder: TrainableEncoder, part: int) -> None:
    batch = make_batch(EXAMPLES, 2, np.random.default_rng(0))
    texts = encoder.passage_vectors(batch.texts)
    ignored = torch.from_numpy(batch.ignored)
    loss = contrastive_loss(encoder.question_vectors(batch.questions), texts, ignored, 0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    expected = taken_gradients(encoder)
    stepper = Stepper(encoder, PartialState(), part, 0.1, "float32")
    assert stepper.backward(batch) == pytest.approx(float(loss.detach()), rel=1e-5)
    found = taken_gradients(encoder)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


def taken_gradients(encoder: TrainableEncoder) -> dict[str, torch.Tensor]:
    gradients = {}
    for name, parameter in encoder.named_parameters().items():
        if parameter.grad is not None:
            gradients[name], parameter.grad = parameter.grad, None
    return gradients


def test_bfloat16_is_near(encoder: TrainableEncoder) -> None:
    batch = make_batch(EXAMPLES, 2, np.random.default_rng(0))
    exact = Stepper(encoder, PartialState(), 8, 1.0, "float32").backward(batch)
    reduced = Stepper(encoder, PartialState(), 8, 1.0, "bfloat16").backward(batch)
    assert reduced != exact
    assert reduced == pytest.approx(exact, rel=0.02)
