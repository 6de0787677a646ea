"""REALM's embedder, and c-REALM, which is one trained by contrast (Krishna et al. 2021, §2.1).

One BERT for questions and passages; the pooled state of [CLS] is projected to 128 dimensions and
layer-normalised, and inner products rank (Lee et al. 2019, §4; Guu et al. 2020, §3.1). transformers
dropped its own classes with version 5. A model directory holds `config.json`, `model.safetensors`
and a BERT tokenizer.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, BertConfig, BertModel, BertPreTrainedModel

from retriever.encoders import Progress, Vectors, in_batches
from retriever.loading import load_encoder_model
from retriever.passages import Passage

MAX_TOKENS = 288  # of a block of evidence, in ORQA, REALM and c-REALM alike


class RealmConfig(BertConfig):  # type: ignore[no-untyped-call]
    """A BERT with a projection."""

    model_type = "rag_rt_realm"
    projection_size: int = 128
    projection_norm_eps: float = 1e-3  # Keras' LayerNormalization, which the published program uses


class RealmEmbedder(BertPreTrainedModel):
    """Token ids to one vector a row."""

    config: RealmConfig
    config_class = RealmConfig

    def __init__(self, config: RealmConfig) -> None:
        super().__init__(config)  # type: ignore[no-untyped-call]
        self.bert = BertModel(config)
        self.projection = nn.Linear(config.hidden_size, config.projection_size)
        self.norm = nn.LayerNorm(config.projection_size, eps=config.projection_norm_eps)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, **inputs: Any) -> Tensor:
        """A tokenizer's ids, mask and types (B, T) to vectors (B, projection_size)."""
        vectors: Tensor = self.norm(self.projection(self.bert(**inputs).pooler_output))
        return vectors


AutoConfig.register(RealmConfig.model_type, RealmConfig, exist_ok=True)


class RealmEncoder:
    """A REALM embedder of questions and passages. Computes in float32."""

    cosine = False

    def __init__(self, folder: str) -> None:
        """Load an embedder from a folder or a Hugging Face Hub id.

        Raises:
            EncoderError: it cannot be loaded.
        """
        self.name = f"realm:{folder}"
        loaded = load_encoder_model(RealmEmbedder, folder, self.name)
        self._model, self._tokenizer = loaded.model, loaded.tokenizer
        self.fingerprint = self.question_fingerprint = loaded.fingerprint
        self.dimension: int = self._model.config.projection_size

    def encode_questions(self, questions: Sequence[str]) -> Vectors:
        """Vectors (N, D) of questions."""
        return in_batches(questions, len, self._encode, self.dimension)

    def encode_passages(
        self, passages: Sequence[Passage], progress: Progress | None = None
    ) -> Vectors:
        """Vectors (N, D) of passages: title and text are a pair of segments."""
        return in_batches(
            passages, lambda p: len(p.text), self._encode_passages, self.dimension, progress
        )

    def _encode_passages(self, passages: list[Passage]) -> Vectors:
        return self._encode([p.title for p in passages], [p.text for p in passages])

    @torch.inference_mode()
    def _encode(self, *segments: list[str]) -> Vectors:
        inputs = self._tokenizer(
            *segments, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        vectors: Vectors = self._model(**inputs).numpy()
        return vectors
