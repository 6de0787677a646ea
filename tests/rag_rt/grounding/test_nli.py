from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from rag_rt.answers import Claim, Sentence
from rag_rt.errors import EntailmentError
from rag_rt.evidence import EvidencePool
from rag_rt.grounding import Alignment, Grounder, open_entailment
from retriever.encoders import Encoder
from tests.conftest import make_hit
from tests.tiny_models import bert_tokenizer, randomize, small_bert

LABELS = {0: "contradiction", 1: "neutral", 2: "entailment"}
ANSWER = "Rivers carry salts into it, while vaccines teach the body."


def save_model(folder: Path, labels: dict[int, str]) -> BertForSequenceClassification:
    tokenizer = bert_tokenizer()
    config = BertConfig(**small_bert(len(tokenizer)), id2label=labels)
    model = BertForSequenceClassification(config)
    randomize(model)
    model.train(False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def pool(encoder: Encoder) -> EvidencePool:
    return EvidencePool.gather("Why?", [make_hit("Rivers carry dissolved salts into it.")], encoder)


def test_a_named_model_gives_the_probability_of_its_label_for_entailment(
    tmp_path: Path, pool: EvidencePool, encoder: Encoder
) -> None:
    model = save_model(tmp_path, LABELS)
    grounder = Grounder(pool, encoder, open_entailment(str(tmp_path)))
    sentence = grounder.ground(ANSWER, 0, len(ANSWER))
    tokenizer = bert_tokenizer()
    found: list[Sentence | Claim] = [sentence, *sentence.claims]
    for claim, assessed in zip(found, grounder.assess(ANSWER, 0, len(ANSWER)), strict=True):
        inputs = tokenizer(assessed.premise, assessed.text, return_tensors="pt")
        with torch.inference_mode():
            expected = model(**inputs).logits.softmax(-1)[0, 2].item()
        assert claim.probability == pytest.approx(expected, abs=1e-5)
    assert len({claim.probability for claim in found}) == len(found) == 3


def test_a_model_that_does_not_say_what_entails_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, {0: "negative", 1: "not_entailment"})
    with pytest.raises(EntailmentError, match=r"the labels of .* are negative, not_entailment"):
        open_entailment(str(tmp_path))


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    model = save_model(tmp_path, LABELS)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(EntailmentError, match="RAG_RT_ENTAILMENT"):
        open_entailment(str(tmp_path))


def test_the_starter_needs_no_model() -> None:
    assert isinstance(open_entailment(), Alignment)
