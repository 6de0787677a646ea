"""What encoders have in common, and the one of sentences: any mean-pooled transformers model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel

from retriever import starter_pack
from retriever.loading import load_encoder_model
from retriever.passages import Passage

T = TypeVar("T")
Vectors = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with the number of items done and the number of all items."""

MAX_TOKENS = 256  # what all-MiniLM-L6-v2 was trained with (its sentence_bert_config.json)
SHAPES = 16  # lengths are multiples of it: kernels are made for each shape, and kept
BATCH = 32  # 185 passages a second, against 146 at 8 and 147 at 64 (2 cores, bfloat16)


class DualEncoder(Protocol):
    """Questions and passages into one space, where the inner product says how well they match."""

    name: str
    fingerprint: str
    """Of what makes the passages' vectors: an index is built from one fingerprint."""
    question_fingerprint: str
    """Of what makes the questions' vectors."""
    dimension: int
    cosine: bool
    """Whether vectors have length 1, so that their inner product is a cosine."""

    def encode_questions(self, questions: Sequence[str]) -> Vectors:
        """Vectors (N, D), float32, in the order of `questions`."""
        ...

    def encode_passages(
        self, passages: Sequence[Passage], progress: Progress | None = None
    ) -> Vectors:
        """Vectors (N, D), float32, in the order of `passages`."""
        ...


def in_batches(
    items: Sequence[T],
    length: Callable[[T], int],
    encode: Callable[[list[T]], Vectors],
    dimension: int,
    progress: Progress | None = None,
) -> Vectors:
    """Vectors (N, D) of items in their order, computed where items of like length share a batch.

    Little is so computed for padding.
    """
    vectors = np.empty((len(items), dimension), dtype=np.float32)
    order = sorted(range(len(items)), key=lambda row: length(items[row]), reverse=True)
    for first in range(0, len(order), BATCH):
        rows = order[first : first + BATCH]
        vectors[rows] = encode([items[row] for row in rows])
        if progress is not None:
            progress(min(first + BATCH, len(order)), len(order))
    return vectors


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """The tokens of a text (T of them), without the special ones."""

    starts: npt.NDArray[np.int64]
    """(T,) offsets in characters at which the tokens begin."""
    ids: npt.NDArray[np.int64]
    """(T,) numbers in the vocabulary."""
    layers: tuple[Vectors, Vectors, Vectors]
    """Three times (T, D), unit length: of the embeddings, the middle layer and the last one."""


class Encoder:
    """A sentence encoder: the mean of the last hidden states, scaled to length 1.

    Computes in bfloat16 where the processor multiplies it natively, else in float32; vectors are
    float32 either way.
    """

    cosine = True

    def __init__(self, name: str) -> None:
        """Load an encoder.

        Args:
            name: "starter" for the starter pack's, or a folder, or a Hugging Face Hub id.

        Raises:
            StarterPackMissing: "starter" is named and the starter pack is not installed.
            EncoderError: there is no such encoder, or its weights are not safetensors.
        """
        self.name = "all-MiniLM-L6-v2" if name == "starter" else name
        folder = (
            str(starter_pack.locate(starter_pack.ENCODER).parent) if name == "starter" else name
        )
        dtype = torch.bfloat16 if _multiplies_bfloat16() else torch.float32
        loaded = load_encoder_model(AutoModel, folder, name, dtype)
        self._model, self._tokenizer = loaded.model, loaded.tokenizer
        self.fingerprint = self.question_fingerprint = loaded.fingerprint
        self.dimension: int = self._model.config.hidden_size

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Unit vectors (N, D), float32, in the order of `texts`."""
        return in_batches(texts, len, self._encode_batch, self.dimension, progress)

    def encode_questions(self, questions: Sequence[str]) -> Vectors:
        """Unit vectors (N, D) of questions, encoded as any text."""
        return self.encode(questions)

    def encode_passages(
        self, passages: Sequence[Passage], progress: Progress | None = None
    ) -> Vectors:
        """Unit vectors (N, D) of passages: the title goes before the text, as in DPR."""
        return self.encode([f"{p.title}\n{p.text}" for p in passages], progress)

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """The tokens of each text with their vectors; what lies beyond `MAX_TOKENS` is cut off."""
        return [
            tokens
            for first in range(0, len(texts), BATCH)
            for tokens in self._token_batch(texts[first : first + BATCH])
        ]

    @torch.inference_mode()
    def _token_batch(self, texts: Sequence[str]) -> list[TokenVectors]:
        inputs = self._tokenizer(
            list(texts),
            padding=True,
            pad_to_multiple_of=SHAPES,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        starts = inputs.pop("offset_mapping")[..., 0].numpy()  # (B, T)
        ordinary = inputs.pop("special_tokens_mask").numpy() == 0  # (B, T), false on padding too
        states = self._model(**inputs, output_hidden_states=True).hidden_states
        layers = [
            torch.nn.functional.normalize(states[layer].float(), dim=-1).numpy()  # (B, T, D)
            for layer in (0, len(states) // 2, -1)
        ]
        ids = inputs["input_ids"].numpy()
        return [
            TokenVectors(
                starts[row, kept],
                ids[row, kept],
                (layers[0][row, kept], layers[1][row, kept], layers[2][row, kept]),
            )
            for row, kept in enumerate(ordinary)
        ]

    @torch.inference_mode()
    def _encode_batch(self, texts: list[str]) -> Vectors:
        inputs = self._tokenizer(
            texts,
            padding=True,
            pad_to_multiple_of=SHAPES,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        )
        hidden = self._model(**inputs).last_hidden_state.float()  # (B, T, D)
        mask = inputs["attention_mask"].unsqueeze(-1).float()  # (B, T, 1)
        means = (hidden * mask).sum(1) / mask.sum(1)  # (B, D)
        unit: Vectors = torch.nn.functional.normalize(means, dim=-1).numpy()
        return unit


def _multiplies_bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
