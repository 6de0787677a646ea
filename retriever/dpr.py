"""DPR: two BERTs, one for questions and one for passages (Karpukhin et al. 2020).

Inputs are those of the published program (facebookresearch/DPR): the hidden state of [CLS]; title
and text as a pair of segments that both have type 0; 256 tokens; vectors are not scaled.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import DPRContextEncoder, DPRQuestionEncoder

from retriever.encoders import Progress, Vectors
from retriever.errors import EncoderError
from retriever.loading import Device, Precision, load_encoder_model
from retriever.passages import Passage
from retriever.text_model import TextModel, first_state

MAX_TOKENS = 256  # sequence_length of the published models


class DprEncoder:
    """A pair of DPR models."""

    cosine = False

    def __init__(
        self,
        questions: str,
        passages: str,
        precision: Precision = "auto",
        device: Device = "cpu",
    ) -> None:
        """Load a pair.

        Args:
            questions: the model of questions, a folder or a Hugging Face Hub id.
            passages: the model of passages, with which an index is built.
            precision: that they compute in; vectors are float32 in any.
            device: that they compute on.

        Raises:
            EncoderError: a model cannot be loaded, or the two make vectors of unequal length.
        """
        self.name = f"dpr:{questions},{passages}"
        self._questions = _Side(DPRQuestionEncoder, questions, self.name, precision, device)
        self._passages = _Side(DPRContextEncoder, passages, self.name, precision, device)
        self.fingerprint = self._passages.fingerprint
        self.question_fingerprint = self._questions.fingerprint
        self.dimension = self._passages.dimension
        if self._questions.dimension != self.dimension:
            raise EncoderError(
                f"the models of '{self.name}' do not belong together: questions have "
                f"{self._questions.dimension} dimensions, passages {self.dimension}; "
                "name a pair that was trained together (RAG_RT_ENCODER)"
            )

    def encode_questions(self, questions: Sequence[str]) -> Vectors:
        """Vectors (N, D) of questions."""
        return self._questions.encode(questions)

    def encode_passages(
        self, passages: Sequence[Passage], progress: Progress | None = None
    ) -> Vectors:
        """Vectors (N, D) of passages."""
        titles, texts = [p.title for p in passages], [p.text for p in passages]
        return self._passages.encode(titles, texts, progress=progress)


class _Side:
    """One of the two models."""

    def __init__(
        self, model_class: Any, folder: str, name: str, precision: Precision, device: Device
    ) -> None:
        loaded = load_encoder_model(model_class, folder, name, precision, device)
        dpr = loaded.model.base_model  # a BERT, and a projection where projection_dim is not 0
        config = loaded.model.config
        self.fingerprint = loaded.fingerprint
        self.dimension = int(config.projection_dim or config.hidden_size)
        self._projection = dpr.encode_proj.float() if config.projection_dim else None
        self._text = TextModel(dpr.bert_model, loaded.tokenizer, MAX_TOKENS)

    def encode(self, *segments: Sequence[str], progress: Progress | None = None) -> Vectors:
        return self._text.encode(segments, self._pool, self.dimension, progress)

    def _pool(self, states: Tensor, kept: Tensor) -> Tensor:
        state = first_state(states, kept)
        return state if self._projection is None else self._projection(state)
