"""On a GPU: vectors are those of the processor, and training is the same computation."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from retriever.encoders import Encoder
from retriever.gradient_cache import backward_in_parts
from retriever.loading import Precision
from retriever.named_encoders import open_encoder
from retriever.training import train
from retriever.training_plan import Listener, Metrics
from tests.conftest import make_hit
from tests.retriever.test_encoders import TEXTS
from tests.retriever.training_setup import toy_plan
from tests.tiny_models import make_dpr, make_realm

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize(("precision", "cosine"), [("float32", 0.99999), ("auto", 0.999)])
def test_a_sentence_encoder_gives_the_processors_vectors(
    precision: Precision, cosine: float
) -> None:
    expected = Encoder("starter", precision="float32").encode(TEXTS)
    vectors = Encoder("starter", precision=precision, device="cuda").encode(TEXTS)
    assert ((vectors * expected).sum(1) > cosine).all()


@pytest.mark.parametrize("make", [make_dpr, make_realm])
def test_pairs_give_the_processors_vectors(tmp_path: Path, make: Callable[[Path], str]) -> None:
    name = make(tmp_path / "encoder")
    passages = [make_hit("Rivers carry salts. " * n, title="Ocean").passage for n in (1, 9, 40)]
    there, here = (open_encoder(name, "float32", device) for device in ("cuda", "cpu"))
    for found, expected in (
        (there.encode_passages(passages), here.encode_passages(passages)),
        (there.encode_questions(["gold?", "Why?"]), here.encode_questions(["gold?", "Why?"])),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_tokens_have_the_processors_vectors() -> None:
    there, here = (
        Encoder("starter", precision="float32", device=device).encode_tokens(TEXTS[:3])
        for device in ("cuda", "cpu")
    )
    for found, expected in zip(there, here, strict=True):
        assert (found.ids == expected.ids).all()
        np.testing.assert_allclose(found.layers[-1], expected.layers[-1], atol=1e-3)


def test_dropout_falls_on_the_same_places_in_both_passes() -> None:
    layers = nn.Linear(5, 64), nn.Dropout(0.5), nn.Linear(64, 4)
    model = nn.Sequential(*layers).to("cuda", torch.float64)
    inputs = torch.randn(3, 4, 5, dtype=torch.float64, device="cuda")

    def loss_of(vectors: Tensor) -> Tensor:
        own = torch.arange(len(vectors), device="cuda").flip(0)
        return nn.functional.cross_entropy(vectors @ vectors.T, own)

    torch.manual_seed(0)
    loss_of(torch.cat([model(part) for part in inputs])).backward()  # type: ignore[no-untyped-call]
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    torch.manual_seed(0)
    backward_in_parts([lambda part=part: model(part) for part in inputs], loss_of)  # type: ignore[misc]
    for parameter, wanted in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-9, atol=1e-12)


def test_what_can_be_learned_is_learned(tmp_path: Path) -> None:
    told: list[Metrics] = []
    listener = Listener(metrics=told.append)
    plan = toy_plan(tmp_path, "out", steps=60, every=30, learning_rate=0.01, held_out=0.2)
    name = train(plan, listener)
    assert told[2]["loss"] < told[1]["loss"] / 1.5
    assert told[2]["mrr"] > told[0]["mrr"] + 0.1
    assert open_encoder(name, device="cuda").encode_questions(["ace?"]).shape == (1, 16)
