"""REALM's embedder, and c-REALM, which is one trained by contrast (Krishna et al. 2021, §2.1).

One BERT for questions and passages; the pooled state of [CLS] is projected to 128 dimensions and
layer-normalised, and inner products rank (Lee et al. 2019, §4; Guu et al. 2020, §3.1). transformers
dropped its own classes with version 5. A model directory holds `config.json`, `model.safetensors`
and a BERT tokenizer.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, BertConfig, BertModel, BertPreTrainedModel

from retriever.encoders import Progress, Vectors
from retriever.loading import Device, Precision, load_encoder_model
from retriever.passages import Passage
from retriever.text_model import TextModel, first_state

MAX_TOKENS = 288  # of a block of evidence, in ORQA, REALM and c-REALM alike


class RealmConfig(BertConfig):  # type: ignore[no-untyped-call]
    """A BERT with a projection."""

    model_type = "rag_rt_realm"
    projection_size: int = 128
    projection_norm: bool = True
    projection_norm_eps: float = 1e-3  # Keras' LayerNormalization, which the published program uses


class RealmEmbedder(BertPreTrainedModel):
    """Token ids to one vector a row."""

    config: RealmConfig
    config_class = RealmConfig

    def __init__(self, config: RealmConfig) -> None:
        super().__init__(config)  # type: ignore[no-untyped-call]
        self.bert = BertModel(config)
        self.projection = nn.Linear(config.hidden_size, config.projection_size)
        self.norm = (
            nn.LayerNorm(config.projection_size, eps=config.projection_norm_eps)
            if config.projection_norm
            else nn.Identity()
        )
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, **inputs: Any) -> Tensor:
        """A tokenizer's ids, mask and types (B, T) to vectors (B, projection_size)."""
        vectors: Tensor = self.norm(self.projection(self.bert(**inputs).pooler_output))
        return vectors

    def head(self) -> nn.Sequential:
        """What makes vectors (B, projection_size) of the last states (B, T, D)."""
        assert self.bert.pooler is not None
        return nn.Sequential(self.bert.pooler, self.projection, self.norm)


AutoConfig.register(RealmConfig.model_type, RealmConfig, exist_ok=True)


class RealmEncoder:
    """A REALM embedder of questions and passages."""

    cosine = False

    def __init__(self, folder: str, precision: Precision = "auto", device: Device = "cpu") -> None:
        """Load an embedder from a folder or a Hugging Face Hub id.

        Args:
            folder: the model.
            precision: that its BERT computes in; vectors are float32 in any.
            device: that it computes on.

        Raises:
            EncoderError: it cannot be loaded.
        """
        self.name = f"realm:{folder}"
        loaded = load_encoder_model(RealmEmbedder, folder, self.name, precision, device)
        model: RealmEmbedder = loaded.model
        self.fingerprint = self.question_fingerprint = loaded.fingerprint
        self.dimension = model.config.projection_size
        self._head = model.head().float()
        self._text = TextModel(model.bert, loaded.tokenizer, MAX_TOKENS, typed=True)

    def encode_questions(self, questions: Sequence[str]) -> Vectors:
        """Vectors (N, D) of questions."""
        return self._text.encode((questions,), self._pool, self.dimension)

    def encode_passages(
        self, passages: Sequence[Passage], progress: Progress | None = None
    ) -> Vectors:
        """Vectors (N, D) of passages: title and text are a pair of segments."""
        segments = [p.title for p in passages], [p.text for p in passages]
        return self._text.encode(segments, self._pool, self.dimension, progress)

    def _pool(self, states: Tensor, kept: Tensor) -> Tensor:
        vectors: Tensor = self._head(first_state(states, kept).unsqueeze(1))
        return vectors
