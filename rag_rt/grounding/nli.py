"""Probabilities of support by a model of natural language inference, for those who have one."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rag_rt.errors import EntailmentError
from rag_rt.grounding.features import Floats
from rag_rt.grounding.grounder import Alignment, Assessed, Entailment

_MAX_TOKENS = 512  # of premise and claim; what models of this kind are trained with


def open_entailment(name: str = "starter") -> Entailment:
    """What gives claims their probability: the logistic model ("starter") or an NLI model.

    Raises:
        EntailmentError: the model that is named cannot be loaded.
    """
    return Alignment() if name == "starter" else NliModel(name)


class NliModel:
    """Any sequence classifier one of whose labels begins with "entail"."""

    def __init__(self, name: str) -> None:
        """Load a model.

        Args:
            name: a folder or a Hugging Face Hub id.

        Raises:
            EntailmentError: there is no such model, its weights are not safetensors, or none or
                several of its labels mean entailment.
        """
        self.name = name
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name)
            self._model = AutoModelForSequenceClassification.from_pretrained(
                name, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise EntailmentError(
                f"cannot load the model of entailment '{name}': {error}; RAG_RT_ENTAILMENT is "
                "'starter', or the folder or Hub id of a sequence classifier in safetensors"
            ) from error
        labels = self._model.config.id2label
        meant = [number for number, label in labels.items() if label.lower().startswith("entail")]
        if len(meant) != 1:
            raise EntailmentError(
                f"the labels of '{name}' are {', '.join(labels.values())}; expected one that "
                "begins with 'entail'; name a model of natural language inference"
            )
        self._entailment = meant[0]
        self._model.train(False)

    @torch.inference_mode()
    def probabilities(self, claims: Sequence[Assessed]) -> Floats:
        """How likely the quotes, with what they speak of, entail each claim."""
        inputs = self._tokenizer(
            [claim.premise for claim in claims],
            [claim.text for claim in claims],
            padding=True,
            truncation=True,
            max_length=_MAX_TOKENS,
            return_tensors="pt",
        )
        chances = self._model(**inputs).logits.float().softmax(-1)[:, self._entailment]
        return np.asarray(chances, dtype=np.float64)
