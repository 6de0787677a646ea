"""The model behaves as transformers expects of a causal language model."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rag_rt.models.routing_transformer import (
    InputError,
    RoutingTransformerConfig,
    RoutingTransformerForCausalLM,
)
from tests.rag_rt.routing_transformer.recorded import Recorded

Find = Callable[[str], Recorded]


def exact_model(recorded: Find) -> RoutingTransformerForCausalLM:
    model = recorded("k1_decode_greedy_prefix").model()
    model.config.decoding = "exact"
    return model


def test_logits_at_a_token_are_the_official_logits_of_the_next(recorded: Find) -> None:
    model = exact_model(recorded)
    ids = torch.randint(1, model.config.vocab_size, (2, 95))
    targets = torch.nn.functional.pad(ids, (0, 1))
    with torch.inference_mode():
        official = model.teacher_forced_logits(targets)
        assert torch.equal(model(ids).logits, official[:, 1:])
        assert torch.equal(model(ids, logits_to_keep=2).logits, official[:, -2:])


def test_padding_on_the_left_changes_nothing(recorded: Find) -> None:
    model = exact_model(recorded)
    ids = torch.randint(1, model.config.vocab_size, (1, 20))
    padded = torch.nn.functional.pad(ids, (7, 0), value=5)
    mask = torch.nn.functional.pad(torch.ones_like(ids), (7, 0))
    with torch.inference_mode():
        difference = model(padded, mask).logits[:, 7:] - model(ids).logits
    assert difference.abs().max() < 1e-5


def test_saved_weights_are_read_again(recorded: Find, tmp_path: Path) -> None:
    fixture = recorded("f2_cluster_strided")
    model = fixture.model()
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(again, RoutingTransformerForCausalLM)
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_the_configuration_is_found_by_its_type(tmp_path: Path) -> None:
    RoutingTransformerConfig(num_decoder_layers=3).save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).num_hidden_layers == 3


def test_a_new_model_starts_with_finite_weights_and_centroids_on_the_sphere() -> None:
    config = RoutingTransformerConfig(
        vocab_size=17, hidden_size=32, embedding_dims=32, filter_size=8, num_decoder_layers=1,
        sparsity_skip_first=0, query_shape=4, memory_query_shape=4, memory_flange=4,
        sparsity_cluster_size=2, sparsity_cluster_attention_window=8, max_target_length=16,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    means = model.state_dict()["decoder.0.self_attention.body.routing.means"]
    torch.testing.assert_close(means.norm(dim=-1), torch.full((2, 2), 2.0), rtol=1e-3, atol=0)


def test_training_through_labels_lowers_the_loss(recorded: Find) -> None:
    model = recorded("t1_train_ema").model().train()
    ids = torch.randint(1, model.config.vocab_size, (2, 60))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        loss = model(ids, labels=ids).loss
        assert loss is not None
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]


def test_labels_of_minus_100_do_not_count(recorded: Find) -> None:
    model = exact_model(recorded)
    ids = torch.randint(1, model.config.vocab_size, (1, 20))
    labels = ids.clone()
    labels[:, :-1] = -100
    with torch.inference_mode():
        outputs = model(ids, labels=labels)
    expected = -outputs.logits[0, -2].log_softmax(-1)[ids[0, -1]]
    assert float(outputs.loss) == pytest.approx(float(expected), abs=1e-5)


def test_a_text_longer_than_the_model_reads_is_refused(recorded: Find) -> None:
    model = exact_model(recorded)
    with pytest.raises(InputError, match="max_target_length"):
        model(torch.ones(1, 96, dtype=torch.long))


LOAD = """
import sys
{first}
assert "transformers" not in sys.modules or "transformers" in "{first}"
{second}
print(type({auto}.from_pretrained(sys.argv[1])).__name__)
"""


@pytest.mark.parametrize(
    ("auto", "found"),
    [
        ("AutoConfig", "RoutingTransformerConfig"),
        ("AutoModelForCausalLM", "RoutingTransformerForCausalLM"),
    ],
)
@pytest.mark.parametrize("transformers_first", [False, True])
def test_import_rag_rt_is_all_that_auto_classes_need(
    auto: str, found: str, transformers_first: bool, recorded: Find, tmp_path: Path
) -> None:
    recorded("k1_decode_greedy_prefix").model().save_pretrained(tmp_path)
    imports = ["import rag_rt", f"from transformers import {auto}"]
    first, second = reversed(imports) if transformers_first else imports
    code = LOAD.format(first=first, second=second, auto=auto)
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == found, run.stderr
