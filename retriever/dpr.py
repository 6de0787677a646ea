"""DPR: two BERTs, one for questions and one for passages (Karpukhin et al. 2020).

Inputs are those of the published program (facebookresearch/DPR): the hidden state of [CLS]; title
and text as a pair of segments that both have type 0; 256 tokens; vectors are not scaled.
"""

from collections.abc import Sequence

import torch
from transformers import DPRContextEncoder, DPRQuestionEncoder

from retriever.encoders import Progress, Vectors, in_batches
from retriever.errors import EncoderError
from retriever.loading import Loaded, load_encoder_model
from retriever.passages import Passage

MAX_TOKENS = 256  # sequence_length of the published models


class DprEncoder:
    """A pair of DPR models. Computes in float32."""

    cosine = False

    def __init__(self, questions: str, passages: str) -> None:
        """Load a pair.

        Args:
            questions: the model of questions, a folder or a Hugging Face Hub id.
            passages: the model of passages, with which an index is built.

        Raises:
            EncoderError: a model cannot be loaded, or the two make vectors of unequal length.
        """
        self.name = f"dpr:{questions},{passages}"
        self._questions = load_encoder_model(DPRQuestionEncoder, questions, self.name)
        self._passages = load_encoder_model(DPRContextEncoder, passages, self.name)
        self.fingerprint = self._passages.fingerprint
        self.question_fingerprint = self._questions.fingerprint
        self.dimension = _dimension(self._passages)
        if _dimension(self._questions) != self.dimension:
            raise EncoderError(
                f"the models of '{self.name}' do not belong together: questions have "
                f"{_dimension(self._questions)} dimensions, passages {self.dimension}; "
                "name a pair that was trained together (RAG_RT_ENCODER)"
            )

    def encode_questions(self, questions: Sequence[str]) -> Vectors:
        """Vectors (N, D) of questions."""
        return in_batches(questions, len, self._encode_questions, self.dimension)

    def encode_passages(
        self, passages: Sequence[Passage], progress: Progress | None = None
    ) -> Vectors:
        """Vectors (N, D) of passages."""
        return in_batches(
            passages, lambda p: len(p.text), self._encode_passages, self.dimension, progress
        )

    def _encode_questions(self, questions: list[str]) -> Vectors:
        return _encode(self._questions, questions)

    def _encode_passages(self, passages: list[Passage]) -> Vectors:
        return _encode(self._passages, [p.title for p in passages], [p.text for p in passages])


def _dimension(loaded: Loaded) -> int:
    return int(loaded.model.config.projection_dim or loaded.model.config.hidden_size)


@torch.inference_mode()
def _encode(loaded: Loaded, *segments: list[str]) -> Vectors:
    inputs = loaded.tokenizer(
        *segments,
        padding=True,
        truncation=True,
        max_length=MAX_TOKENS,
        return_token_type_ids=False,
        return_tensors="pt",
    )
    vectors: Vectors = loaded.model(**inputs).pooler_output.numpy()
    return vectors
